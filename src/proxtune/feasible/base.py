"""What every feasible set answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class FeasibleSet(Protocol):
    """A closed set of tensors, and the form in which its members are saved. Values are float32, as they are loaded."""

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of that shape can be saved so."""
        ...

    def contains(self, x: Tensor) -> bool:
        """Whether `x` is saved and loaded again without a change."""
        ...

    def nearest(self, x: Tensor) -> Tensor:
        """The member at the least Euclidean distance from `x`, float32, in its shape; `x` itself where it is one."""
        ...

    def bytes(self, shape: Sequence[int]) -> int:
        """Bytes of the saved tensors of a member of that shape, without what a file's header says of them."""
        ...
