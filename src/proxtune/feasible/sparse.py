"""Tensors with few numbers that are not zero: a bit for each number says whether it is, and those that are not are kept in fp16.

That is less than fp16 for all only where more than a sixteenth is zero, and less than b bits for each only where the share of
numbers that stay is below (b - 1)/16: 19 % for 4 bits. No public backend of transformers unpacks it at present.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sparse:
    """At most `keep` numbers other than zero, each of them a float16."""

    keep: int

    def fits(self, shape: Sequence[int]) -> bool:
        """Where there are so many numbers, and fp16 for all would be larger."""
        return self.keep <= prod(shape) and self.bytes(shape) < 2 * prod(shape)

    def contains(self, x: Tensor) -> bool:
        """Exact."""
        return int(x.count_nonzero()) <= self.keep and torch.equal(_half(x), x.float())

    def nearest(self, x: Tensor) -> Tensor:
        """Exact: the numbers that gain most by not being zero, |x|² - |x - fp16(x)|², which are the largest."""
        flat = x.float().flatten()
        half = _half(flat)
        gain = flat.double().square() - (flat.double() - half).square()
        places = gain.topk(min(self.keep, len(flat))).indices
        return torch.zeros_like(flat).index_copy_(0, places, half[places]).view(x.shape)

    def bytes(self, shape: Sequence[int]) -> int:
        """Bytes of bits and numbers."""
        return -(-prod(shape) // 8) + 2 * self.keep

    def saved(self, x: Tensor) -> dict[str, Tensor]:
        """A member's bits, lowest first, and its numbers in order; zeros fill up what it does not use of `keep`."""
        flat = x.float().flatten()
        mask = torch.zeros(-(-len(flat) // 8) * 8, dtype=torch.uint8)
        mask[: len(flat)] = flat != 0
        values = torch.zeros(self.keep, dtype=torch.float16)
        values[: int(mask.sum())] = flat[flat != 0].half()
        return {"bits": (mask.view(-1, 8) << torch.arange(8)).sum(1).to(torch.uint8), "values": values}

    def loaded(self, saved: dict[str, Tensor], shape: Sequence[int]) -> Tensor:
        """The member that `saved` turned into tensors."""
        mask = (saved["bits"][:, None] >> torch.arange(8) & 1).flatten()[: prod(shape)].bool()
        flat = torch.zeros(prod(shape))
        flat[mask] = saved["values"][: int(mask.sum())].float()
        return flat.view(*shape)


def _half(x: Tensor) -> Tensor:
    most = torch.finfo(torch.float16).max
    return x.float().clamp(-most, most).half().float()
