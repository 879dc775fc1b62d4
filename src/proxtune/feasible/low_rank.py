"""Matrices of low rank: the product of a tall and a wide factor.

The nearest one is the singular value decomposition, cut (Eckart and Young 1936). A model that is saved so needs two layers in the
place of one, which no plain transformers class has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LowRank:
    """Matrices of rank `rank` at most, saved as factors (rows, rank) and (rank, columns) in fp16."""

    rank: int

    def fits(self, shape: Sequence[int]) -> bool:
        """A matrix whose factors are smaller than itself."""
        return len(shape) == 2 and self.rank * sum(shape) < shape[0] * shape[1]

    def contains(self, x: Tensor) -> bool:
        """Whether all further singular values are zero, within the rounding of float32."""
        sizes = torch.linalg.svdvals(x.double())
        return len(x.shape) == 2 and bool((sizes[self.rank :] <= _tolerance(x) * sizes[0]).all())

    def nearest(self, x: Tensor) -> Tensor:
        """Exact up to the rounding of float32. Rounding the factors to fp16 moves it further: see `factors`."""
        if self.contains(x):
            return x.float()
        left, sizes, right = torch.linalg.svd(x.double(), full_matrices=False)
        return ((left[:, : self.rank] * sizes[: self.rank]) @ right[: self.rank]).float()

    def bytes(self, shape: Sequence[int]) -> int:
        """Bytes of both factors."""
        return 2 * self.rank * sum(shape)

    def factors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The two factors of the nearest member, fp16, of equal size; it is their product but for rounding."""
        left, sizes, right = torch.linalg.svd(x.double(), full_matrices=False)
        root = sizes[: self.rank].sqrt()
        return (left[:, : self.rank] * root).half(), (root[:, None] * right[: self.rank]).half()


def _tolerance(x: Tensor) -> float:
    return float(max(x.shape) * torch.finfo(torch.float32).eps)
