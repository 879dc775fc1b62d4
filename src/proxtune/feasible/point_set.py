"""A finite set of points in d dimensions: every d numbers of a tensor are one of them (vector quantization, Gray 1984).

The nearest of them, or the k nearest, by a k-d tree (scipy) where there are many points in few dimensions, and by all distances
otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from proxtune.feasible.packing import words_for

_DIMENSIONS, _POINTS = 8, 512  # a tree pays in fewer dimensions, with more points
_DISTANCES_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class PointSet:
    """`points` (points, d) float32. A member is a tensor whose last dimension is a multiple of d."""

    points: Tensor

    def fits(self, shape: Sequence[int]) -> bool:
        """Where each row is whole points."""
        return len(shape) > 0 and prod(shape) > 0 and shape[-1] % self.points.shape[1] == 0

    def contains(self, x: Tensor) -> bool:
        """Exact."""
        return self.fits(x.shape) and torch.equal(self.nearest(x), x.float())

    def nearest(self, x: Tensor) -> Tensor:
        """Exact, up to the rounding of distances; of two points that are equally near, either."""
        return self.points[self.k_nearest(x, 1)[0][..., 0]].reshape(x.shape)

    def k_nearest(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The places and distances of the k nearest points of each d numbers, nearest first: (…, k) int64 and float32."""
        places = x.float().reshape(-1, self.points.shape[1])
        few = self.points.shape[1] > _DIMENSIONS or len(self.points) < _POINTS
        found = _by_distances(self.points, places, k) if few else _by_tree(self.points, places, k)
        shape = (*x.shape[:-1], x.shape[-1] // self.points.shape[1], k)
        return found[0].view(shape), found[1].view(shape)

    def bytes(self, shape: Sequence[int]) -> int:
        """Bytes of the points, and of a packed number of a point for each d numbers of a row."""
        bits = max(1, (len(self.points) - 1).bit_length())
        codes = prod(shape[:-1]) * words_for(shape[-1] // self.points.shape[1], bits) * 4
        return codes + self.points.nbytes


def _by_distances(points: Tensor, places: Tensor, k: int) -> tuple[Tensor, Tensor]:
    each = max(1, _DISTANCES_AT_ONCE // len(points))
    mode = "donot_use_mm_for_euclid_dist"  # which would lose the last digits of small distances
    found = [torch.cdist(some, points, compute_mode=mode).topk(k, largest=False) for some in places.split(each)]
    return torch.cat([each.indices for each in found]), torch.cat([each.values for each in found])


def _by_tree(points: Tensor, places: Tensor, k: int) -> tuple[Tensor, Tensor]:
    from scipy.spatial import KDTree

    distances, indices = KDTree(points.numpy()).query(places.numpy(), k=[*range(1, k + 1)])
    return torch.from_numpy(indices).long(), torch.from_numpy(distances).float()
