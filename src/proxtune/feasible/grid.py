"""A uniform grid: whole numbers of `bits` bits times a scale, which a tensor, a row, or some columns of a row share.

    {s·q : q in [-2^(bits-1), 2^(bits-1) - 1], s ≠ 0 a float16},  a scale s for each group, the product rounded to float16

Saved as compressed-tensors' `pack-quantized` holds it: `weight_packed` (int32), `weight_scale` and `weight_shape`. Whoever
loads it multiplies in the width of the scale: with float16 the product is rounded, and so it is here. (float32 scales take two
bytes more each.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

from proxtune.feasible.packing import pack, unpack, words_for
from proxtune.feasible.scales import code_range, exact_scales, own_scales, searched_scales, times

Share = Literal["tensor", "row"] | int
_EXACT = 1 << 20  # breakpoints that are all looked at: a second's work
_NUMBERS_AT_ONCE = 1 << 17  # they stay in a core's cache


@dataclass(frozen=True, slots=True)
class Coded:
    """A member of a grid: codes (rows, columns) int8; scale (rows, groups of a row) as stored, (1, 1) for a whole tensor."""

    codes: Tensor
    scale: Tensor


@dataclass(frozen=True, slots=True)
class Grid:
    """Codes of 2 to 8 `bits`; `share` says what has a scale of its own: "tensor", "row", or so many columns of a row."""

    bits: int
    share: Share = "row"
    scale_dtype: torch.dtype = torch.float16

    def __post_init__(self) -> None:
        assert 2 <= self.bits <= 8
        assert self.share in ("tensor", "row") or (isinstance(self.share, int) and self.share > 0)
        assert self.scale_dtype in (torch.float16, torch.float32)

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of that shape can be saved so: a matrix whose rows can be cut into whole groups."""
        return len(shape) == 2 and prod(shape) > 0 and (not isinstance(self.share, int) or shape[1] % self.share == 0)

    def contains(self, x: Tensor) -> bool:
        """Whether each group is codes times a scale that can be stored; exact."""
        if not self.fits(x.shape):
            return False
        return bool(own_scales(self._groups(x.float()), self.bits, self.scale_dtype)[1].all())

    def nearest(self, x: Tensor) -> Tensor:
        """The nearest member over codes and scales; its distance is within |x|/1000 of the least, as products are rounded.

        So up to 2^20 breakpoints (numbers × 2^bits); beyond that the scales are searched (see `scales`), a local optimum.
        """
        return self.values(self.coded(x))

    def bytes(self, shape: Sequence[int]) -> int:
        """Bytes of codes, scales and shape."""
        rows, columns = shape
        return rows * words_for(columns, self.bits) * 4 + self._scales(shape) * self.scale_dtype.itemsize + 2 * 8

    def coded(self, x: Tensor, importance: Tensor | None = None) -> Coded:
        """`nearest` as codes and scales; with `importance` (of x's shape, or (rows, 1)) nearest by Σ f_i (x_i - y_i)²."""
        assert self.fits(x.shape), "a grid takes a matrix that its groups divide"
        groups = self._groups(x.float())
        weights = None if importance is None else self._groups(importance.float().expand(x.shape))
        scale, own = own_scales(groups, self.bits, self.scale_dtype)
        if not bool(own.all()):
            fit = exact_scales if x.numel() << self.bits <= _EXACT else searched_scales
            away = ~own
            scale[away] = fit(groups[away], self.bits, self.scale_dtype, None if weights is None else weights[away])
        return self.coded_with(x, scale.to(self.scale_dtype).view(1 if self.share == "tensor" else len(x), -1))

    def coded_with(self, x: Tensor, scale: Tensor) -> Coded:
        """The nearest member that has these scales; exact. For each number, the code that it rounds to or the next one."""
        groups, steps = self._groups(x.float()), scale.float().view(-1, 1)
        codes = torch.empty(groups.shape, dtype=torch.int8)
        for piece in _pieces(groups):
            codes[piece] = self._codes(groups[piece], steps[piece])
        return Coded(codes.view(x.shape), scale)

    def _codes(self, groups: Tensor, step: Tensor) -> Tensor:
        lowest, highest = code_range(self.bits)
        codes = (groups / step).round_().clamp_(lowest, highest)
        missing = groups - times(codes, step, self.scale_dtype)
        # products are rounded, so that half-way between two of them is not quite half-way between their codes
        beside = (codes + (missing * step).sign_()).clamp_(lowest, highest)
        nearer = (groups - times(beside, step, self.scale_dtype)).abs_() < missing.abs_()
        return torch.where(nearer, beside, codes)

    def values(self, member: Coded) -> Tensor:
        """Codes times scales, float32: bit for bit what is loaded."""
        codes, steps = self._groups(member.codes), member.scale.float().view(-1, 1)
        found = torch.empty(codes.shape)
        for piece in _pieces(codes):
            found[piece] = times(codes[piece].float(), steps[piece], self.scale_dtype)
        return found.view(member.codes.shape)

    def saved(self, member: Coded) -> dict[str, Tensor]:
        """The tensors that a file holds, by what their names end in."""
        return {
            "weight_packed": pack(member.codes, self.bits),
            "weight_scale": member.scale,
            "weight_shape": torch.tensor(member.codes.shape),
        }

    def loaded(self, tensors: dict[str, Tensor]) -> Coded:
        """The member that `saved` turned into tensors."""
        columns = int(tensors["weight_shape"][1])
        return Coded(unpack(tensors["weight_packed"], self.bits, columns), tensors["weight_scale"])

    def _scales(self, shape: Sequence[int]) -> int:
        rows, columns = shape
        return {"tensor": 1, "row": rows}[self.share] if isinstance(self.share, str) else rows * (columns // self.share)

    def _groups(self, x: Tensor) -> Tensor:
        """(groups, numbers): what shares a scale in a row."""
        return x.reshape(self._scales(x.shape), -1)


def _pieces(groups: Tensor) -> list[slice]:
    each = max(1, _NUMBERS_AT_ONCE // groups.shape[1])
    return [slice(begin, begin + each) for begin in range(0, len(groups), each)]
