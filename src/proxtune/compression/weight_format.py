"""How the weights of a model are held to be saved in K bytes: for each a set, chosen by what it costs and what it takes.

A weight file has one width of codes and one size of groups (`transformers` unpacks all tensors by one scheme), so within a file a
matrix is on the grid of that width, in 8-bit floats, or in float16; a vector is in float16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from proxtune.feasible.allocation import Allocation, Choice, allocate
from proxtune.feasible.floats import NAMES, Float
from proxtune.feasible.grid import Grid
from proxtune.feasible.scales import code_range, times

HALF_BITS = 16  # from here on nothing is packed
FITTED_AT_ONCE = 1 << 20  # numbers
_NUMBERS_AT_ONCE = 1 << 17  # they stay in a core's cache
_FILE_BYTES, _ENTRY_BYTES = 100, 90  # of a weight file's header: once, and for each tensor beside its name
Set = Grid | Float


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """One weight's set, with the scales that were fitted to it: (rows, groups of a row) where the set is a grid."""

    set: Set
    scale: Tensor | None = None

    def nearest(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """The nearest point that has these scales, in x's dtype; `rows` says which rows of the weight x is."""
        if isinstance(self.set, Float):
            return self.set.nearest(x).to(x.dtype)
        assert self.scale is not None, "a grid has scales"
        return rounded(x, self.scale if rows is None else self.scale[rows], self.set)

    def saved(self, name: str, values: Tensor) -> dict[str, Tensor]:
        """The tensors that hold `values`, members of the set, in a weight file."""
        if isinstance(self.set, Float):
            return {name: self.set.saved(values)}
        assert self.scale is not None, "a grid has scales"
        module = name.removesuffix("weight")
        coded = self.set.coded_with(values, self.scale)
        return {module + own: tensor for own, tensor in self.set.saved(coded).items()}


def rounded(x: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """x / scale rounded and cut, times scale: the nearest point, but for numbers half-way between two (1 in 1,000)."""
    lowest, highest = code_range(grid.bits)
    groups, steps = x.reshape(len(x) * scale.shape[1], -1), scale.float().reshape(-1, 1)
    found = torch.empty_like(groups)
    each = max(1, _NUMBERS_AT_ONCE // groups.shape[1])
    for begin in range(0, len(groups), each):
        few = slice(begin, begin + each)
        codes = groups[few].float().div(steps[few]).round_().clamp_(lowest, highest)
        found[few] = times(codes, steps[few], grid.scale_dtype)
    return found.view(x.shape)


def rough_formats(
    weights: Mapping[str, Tensor], bits: int, group: int, unpacked: frozenset[str]
) -> dict[str, WeightFormat]:
    """Sets and scales without a search: what a dry run needs, and nothing that learns."""
    found = {}
    for name, weight in weights.items():
        set_ = _sets(weight, HALF_BITS if name in unpacked else bits, group)[0]
        found[name] = WeightFormat(set_, _reaching(weight, set_) if isinstance(set_, Grid) else None)
    return found


def try_fitting(weights: Mapping[str, Tensor], bits: int, group: int) -> None:
    """Fit scales to as many numbers as `allocate_formats` takes at once, of the largest weight: for a dry run,
    which sees the memory.
    """
    largest = max(weights.values(), key=Tensor.numel)
    few = largest.detach()[: max(1, FITTED_AT_ONCE * len(largest) // largest.numel())]
    for set_ in _sets(largest, bits, group):
        _fitted(few, set_, torch.ones(len(few)), FITTED_AT_ONCE)


def allocate_formats(
    weights: Mapping[str, Tensor],
    limit_bytes: int,
    bits: int,
    group: int,
    unpacked: frozenset[str],
    importance: Mapping[str, Tensor] | None = None,
    at_once: int = FITTED_AT_ONCE,
) -> tuple[Allocation, dict[str, WeightFormat]]:
    """The bytes of a weight file among `weights`, so that Σ f (w − nearest(w))² is least, and how each is held.

    `importance` is f for each row of a weight, (rows,); all count alike without it. Codes have `bits` bits, and a scale for each
    `group` columns, or for each row where that is 0; what is in `unpacked` has none. Scales are fitted to `at_once` numbers at a
    time. The caller has seen to it that codes for all fit in `limit_bytes`.
    """
    usual = 1.0 if not importance else float(torch.cat(list(importance.values())).mean())  # of what does not learn
    choices: dict[str, list[Choice]] = {}
    formats: dict[tuple[str, str], WeightFormat] = {}
    for name, weight in weights.items():
        factor = (importance or {}).get(name, torch.full((len(weight),), usual))
        choices[name] = []
        for set_ in _sets(weight, HALF_BITS if name in unpacked else bits, group):
            weight_format, cost = _fitted(weight.detach(), set_, factor, at_once)
            choices[name].append(Choice(set_name(set_), set_.bytes(weight.shape) + _entries(name, set_), cost))
            formats[name, set_name(set_)] = weight_format
    found = allocate(choices, limit_bytes - _FILE_BYTES)
    assert isinstance(found, Allocation), "codes for all fit"
    return found, {name: formats[name, choice.name] for name, choice in found.chosen.items()}


def _fitted(weight: Tensor, set_: Set, importance: Tensor, at_once: int) -> tuple[WeightFormat, float]:
    """A weight's set with the scales nearest to it, and Σ f (w − nearest(w))²; some rows at a time."""
    scales, cost = [], 0.0
    for few in torch.arange(len(weight)).split(max(1, at_once * len(weight) // weight.numel())):
        x = weight[few].float()
        weight_format = WeightFormat(set_, set_.coded(x).scale if isinstance(set_, Grid) else None)
        far = (weight_format.nearest(x) - x).square_().view(len(few), -1).sum(1)
        cost += float((far * importance[few]).sum())
        scales += [] if weight_format.scale is None else [weight_format.scale]
    return WeightFormat(set_, torch.cat(scales) if scales else None), cost


def set_name(set_: Set) -> str:
    """A set in words for tables."""
    if isinstance(set_, Float):
        return set_.name
    return f"{set_.bits} bits by {set_.share}"


def set_from_name(name: str) -> Set:
    """The set that `set_name` gave the name."""
    if name in NAMES:
        return Float(name)
    bits, share = name.split(" bits by ")
    return Grid(int(bits), int(share) if share.isdigit() else "row")


def _sets(weight: Tensor, bits: int, group: int) -> list[Set]:
    """What a weight may be held in, the smallest first."""
    half = Float("fp16")
    grid = Grid(bits, group or "row") if bits < HALF_BITS else None
    if grid is None or not grid.fits(weight.shape):
        return [half]
    return [grid, *([Float("fp8")] if bits < 8 else []), half]


def _reaching(weight: Tensor, grid: Grid) -> Tensor:
    """Scales by which the largest number of each group is still reached."""
    columns = grid.share if isinstance(grid.share, int) else weight.shape[1]
    largest = weight.detach().float().abs().view(len(weight), -1, columns).amax(2)
    return (largest / (1 << (grid.bits - 1))).clamp_min(1e-7).to(grid.scale_dtype)


def _entries(name: str, set_: Set) -> int:
    """Bytes of a weight's entries in the header of a file, at the most."""
    return (3 if isinstance(set_, Grid) else 1) * (len(name) + _ENTRY_BYTES)
