"""Floating-point numbers of fewer bits: rounding to the nearest one is the projection, number by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

NAMES = {
    "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Float:
    """Numbers of a type: "fp32", "fp16", "bf16", or "fp8" (four bits of exponent, three of fraction, no infinity)."""

    name: str

    @property
    def dtype(self) -> torch.dtype:
        """The type in torch."""
        return NAMES[self.name]

    def fits(self, shape: Sequence[int]) -> bool:
        """Whatever has numbers."""
        return prod(shape) > 0

    def contains(self, x: Tensor) -> bool:
        """Exact."""
        return torch.equal(self.nearest(x), x.float())

    def nearest(self, x: Tensor) -> Tensor:
        """Exact; of two that are equally near the one whose last bit is zero, and the largest one for what lies beyond."""
        return self.saved(x).float()

    def bytes(self, shape: Sequence[int]) -> int:
        """Bytes of the numbers."""
        return prod(shape) * self.dtype.itemsize

    def saved(self, x: Tensor) -> Tensor:
        """The nearest member in its own type."""
        most = torch.finfo(self.dtype).max
        return x.float().clamp(-most, most).to(self.dtype)
