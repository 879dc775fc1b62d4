"""The archive: points that earlier steps looked at, and the slope that the nearest of them agree on.

Where a model has few weights, θ moves little beside the distance of its neighbours, and what was seen some steps ago is still
close by. A line through the losses of the nearest points,

    min over g, c of  Σⱼ wⱼ (Lⱼ − c_step(j) − g·(xⱼ − θ))² + λ |g|²,     wⱼ = 1 / (1 + |xⱼ − θ|² / ε²d)

tells more than the latest few alone. Each step has its own constant c, since it saw its own rows. How far to trust the slope is
measured: by how it foretold the losses of neighbours that it had not seen yet. In many dimensions all this does not pay: a step
takes θ several times further than its neighbours are, and what was seen before lies far behind.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from proxtune.optim.neighbours import Directions, combined
from proxtune.optim.sites import Site, weights_of
from proxtune.optim.step_record import StepRecord
from proxtune.optim.step_sizes import effective_points

WHOLE = 1 << 20  # a direction has whole numbers of 1/WHOLE: how a solver rounds is not seen in the weights
_NEAREST = 4  # points for each dimension
_FEWEST = 40
_RIDGE = 0.01  # λ, of the mean square of a point's distance
_AGREED = 0.6  # correlation with what it foretold at which a slope is trusted as far as it goes
_LEARN = 0.1  # of the correlation with each step
_LEAST = 0.5  # of what a step's own neighbours would move it by


def nearest_for(dimensions: int) -> int:
    """How many points a slope is drawn through."""
    return max(_FEWEST, _NEAREST * dimensions)


class Archive:
    """The latest points and their losses, twice as many as a slope needs. A place is all weights in a row, float64."""

    def __init__(self, dimensions: int) -> None:
        self.nearest = nearest_for(dimensions)
        self.places = np.empty((0, dimensions))
        self.losses, self.steps = np.empty(0), np.empty(0, dtype=np.int64)
        self._slope = np.zeros(dimensions)
        self._agreed = self._weight = 0.0  # mean correlation, and how much of it is known

    def trust(self, neighbours: int) -> float:
        """The part of a full step to take, up to 1. Never less than half of one by the step's own neighbours."""
        dimensions = len(self._slope)
        least = _LEAST * effective_points(neighbours, dimensions) / effective_points(self.nearest, dimensions)
        return max(least, min(1.0, self._agreed / (self._weight or 1.0) / _AGREED))

    def remember(self, sites: list[Site], ways: Directions, record: StepRecord) -> None:
        """The neighbours of a step and the point between them, before the step moves it."""
        seen = np.vstack([_place(sites), _neighbours(sites, ways, record.spread)])
        losses = np.array([record.centre, *record.losses]) - record.centre  # exactly flat where they are all alike
        foretold = (seen[1:] - seen[0]) @ self._slope
        if foretold.std() > 0 and losses[1:].std() > 0:
            self._agreed += _LEARN * (float(np.corrcoef(foretold, losses[1:])[0, 1]) - self._agreed)
            self._weight += _LEARN * (1 - self._weight)
        self.places = np.concatenate([self.places, seen])[-2 * self.nearest :]
        self.losses = np.concatenate([self.losses, losses])[-2 * self.nearest :]
        self.steps = np.concatenate([self.steps, np.full(len(seen), record.step)])[-2 * self.nearest :]

    def slope(self, sites: list[Site], spread: float) -> dict[int, Tensor]:
        """Where the losses rise from θ, for each weight in its shape: whole numbers in float32, `WHOLE` long, or zeros."""
        offsets = self.places - _place(sites)
        squares = (offsets**2).sum(1)
        near = np.argsort(squares, kind="stable")[: self.nearest]
        weights = 1 / (1 + squares[near] / (spread**2 * offsets.shape[1]))
        x = _without_mean(offsets[near], weights, self.steps[near])
        y = _without_mean(self.losses[near], weights, self.steps[near])
        square = (x * weights[:, None]).T @ x
        square += np.eye(len(square)) * (_RIDGE * np.trace(square) / len(near))
        slope = np.linalg.solve(square, (x * weights[:, None]).T @ y)
        self._slope = np.round(WHOLE * slope / (np.linalg.norm(slope) or 1.0))
        each = list(weights_of(sites))
        cut = torch.from_numpy(self._slope).float().split([site.weight.numel() for site in each])
        return {
            site.stream: own.view_as(site.weight).to(site.weight.device) for site, own in zip(each, cut, strict=True)
        }


def dimensions_of(sites: list[Site]) -> int:
    """How many numbers learn."""
    return sum(site.weight.numel() for site in weights_of(sites))


def _flat(tensors: list[Tensor]) -> np.ndarray:
    return torch.cat([tensor.detach().double().reshape(-1).cpu() for tensor in tensors]).numpy()


def _place(sites: list[Site]) -> np.ndarray:
    """θ, (dimensions,)."""
    return _flat([site.weight for site in weights_of(sites)])


def _neighbours(sites: list[Site], ways: Directions, spread: float) -> np.ndarray:
    """θ + ε Δₖ, written out: (neighbours, dimensions)."""
    alone = np.eye(ways.neighbours, dtype=int).tolist()
    return np.stack(
        [
            _place(sites) + spread * _flat([combined(site, ways, weighted) for site in weights_of(sites)])
            for weighted in alone
        ]
    )


def _without_mean(values: np.ndarray, weights: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """`values` (points, …) without the weighted mean of their step's: what the constant of each step would take up."""
    steps = np.unique(steps, return_inverse=True)[1]
    member = np.eye(steps.max() + 1)[:, steps] * weights  # (steps, points)
    return values - (member @ values / member.sum(1).reshape(-1, *[1] * (values.ndim - 1)))[steps]
