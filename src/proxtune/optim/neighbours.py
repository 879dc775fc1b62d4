"""Neighbours: points θ + ε·Δₖ that a model is evaluated at, all in one batch, without a weight being written.

For a matrix Δₖ = aₖ bₖᵀ with entries ±1, so a linear layer at neighbour k is x Wᵀ + ε (x·bₖ) aₖ: two products with a vector
beside the layer's own. An embedding adds ε aₖ[token] bₖ. A norm's weight moves in proportion, w ⊙ (1 + ε δₖ), a bias by
ε δₖ. (Rank-one neighbours: Sarkar et al., "Evolution strategies at the hyperscale", 2025.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from proxtune.optim.philox import signs
from proxtune.optim.sites import EMBEDDING, LINEAR, SCALE, SHIFT, Site, weights_of


@dataclass(frozen=True, slots=True)
class Directions:
    """Δₖ of a step for each weight, by stream: aₖ (neighbours, rows) and bₖ (neighbours, columns), int8 ±1."""

    neighbours: int
    rows: dict[int, Tensor]
    columns: dict[int, Tensor]


@dataclass(frozen=True, slots=True)
class Point:
    """θ + Σₖ lengthsₖ Δₖ: any point that the directions of a step span. `lengths` is (neighbours,) float32."""

    ways: Directions
    lengths: Tensor


def directions(sites: list[Site], seed: int, step: int, neighbours: int) -> Directions:
    """The directions of a step: bits keyed by (seed, step, weight, neighbour) and nothing else."""
    weights = list(weights_of(sites))
    asked = [(site.stream, site.rows + site.columns) for site in weights]
    drawn = signs(seed, step, asked, neighbours, weights[0].weight.device)
    rows: dict[int, Tensor] = {}
    columns: dict[int, Tensor] = {}
    for site, both in zip(weights, drawn, strict=True):
        both = both.to(site.weight.device)
        rows[site.stream] = both[:, : site.rows].contiguous()
        columns[site.stream] = both[:, site.rows :].contiguous()
    return Directions(neighbours, rows, columns)


def combined(site: Site, ways: Directions, weighted: list[int], part: slice = slice(None)) -> Tensor:
    """Σₖ weightedₖ Δₖ of some rows of a weight, in their shape, float32: whole numbers, exact (before a norm's own scale)."""
    assert sum(abs(count) for count in weighted) < 1 << 24, "float32 holds whole numbers below 2²⁴"
    rows = ways.rows[site.stream][:, part].float()  # (neighbours, rows)
    counts = torch.tensor(weighted, dtype=torch.float32, device=rows.device)
    if site.weight.dim() > 1:
        return (rows * counts.unsqueeze(1)).T @ ways.columns[site.stream].float()
    total = counts @ rows
    return total * site.weight[part].float() if site.kind == SCALE else total


@dataclass(frozen=True, slots=True)
class View:
    """What the equal parts of a batch are evaluated at: the neighbours `first` … `first + count − 1`, then `points`.

    `spread` is ε. A point that is None is θ itself.
    """

    ways: Directions
    spread: float
    first: int
    count: int
    points: tuple[Point | None, ...] = ()

    @property
    def parts(self) -> int:
        return self.count + len(self.points)

    def cut(self, at_a_time: int) -> Iterator[View]:
        """The same in several views of at most `at_a_time` parts."""
        for begin in range(0, self.parts, at_a_time):
            end = min(begin + at_a_time, self.parts)
            count = max(0, min(end, self.count) - begin)
            points = self.points[max(0, begin - self.count) : max(0, end - self.count)]
            yield replace(self, first=self.first + begin, count=count, points=points)


@contextmanager
def evaluated_at(sites: list[Site], view: View) -> Iterator[None]:
    """While this lasts, each part of a batch is evaluated at its own point. The first axis of every activation is the batch."""
    handles = []
    try:
        for site in sites:
            handles.append(site.module.register_forward_hook(partial(_KINDS[site.kind].move, site, view)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a site's output (parts, places, width) moves: for all neighbours at once, and for a point."""

    neighbours: Callable[..., None]
    point: Callable[..., None]

    def move(self, site: Site, view: View, module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        y = _parts(site, output, view.parts)
        x = inputs[0].reshape(view.parts, -1, *inputs[0].shape[len(output.shape) - 1 :])  # tokens have no width
        if view.count:
            few = slice(view.first, view.first + view.count)
            a, b = view.ways.rows[site.stream][few], view.ways.columns[site.stream][few]
            self.neighbours(module, x[: view.count], y[: view.count], a, b, view.spread)
        for part, point in enumerate(view.points, start=view.count):
            if point is not None:
                a, b = point.ways.rows[site.stream], point.ways.columns[site.stream]
                self.point(module, x[part], y[part], a, b, point.lengths)


def _parts(site: Site, tensor: Tensor, parts: int) -> Tensor:
    """(parts · rows, …, width) as (parts, rows · …, width)."""
    if tensor.shape[0] % parts:
        raise ValueError(
            f"{site.name} sees {tensor.shape[0]} rows, which are not {parts} equal parts: all rows share it, so it has no "
            "neighbours of its own; set requires_grad_(False) on it"
        )
    return tensor.view(parts, -1, tensor.shape[-1])


def _linear(module: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor, spread: float) -> None:
    along = x.bmm(b.to(x.dtype).unsqueeze(2)).to(y.dtype)  # (neighbours, places, 1)
    y.addcmul_(along, a.to(y.dtype).unsqueeze(1), value=spread)


def _linear_point(module: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor, lengths: Tensor) -> None:
    along = (x @ b.to(x.dtype).T) * lengths.to(x)  # (places, neighbours)
    y.addmm_(along.to(y.dtype), a.to(y.dtype))


def _embedding(module: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor, spread: float) -> None:
    along = a.gather(1, x).to(y.dtype).unsqueeze(2)  # (neighbours, places, 1)
    y.addcmul_(along, b.to(y.dtype).unsqueeze(1), value=spread)


def _embedding_point(module: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor, lengths: Tensor) -> None:
    along = a[:, x].T.to(y.dtype) * lengths.to(y)  # (places, neighbours)
    y.addmm_(along, b.to(y.dtype))


def _scaled(module: Any, y: Tensor) -> Tensor:
    """The part of a norm's output that is in proportion to its weight."""
    bias = getattr(module, "bias", None)
    return y if bias is None else y - bias


def _scale(module: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor, spread: float) -> None:
    y.addcmul_(_scaled(module, y), a.to(y.dtype).unsqueeze(1), value=spread)


def _scale_point(module: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor, lengths: Tensor) -> None:
    y.add_(_scaled(module, y) * (lengths.to(a.device) @ a.float()).to(y.dtype))


def _shift(module: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor, spread: float) -> None:
    y.add_(a.to(y.dtype).unsqueeze(1), alpha=spread)


def _shift_point(module: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor, lengths: Tensor) -> None:
    y.add_((lengths.to(a.device) @ a.float()).to(y.dtype))


_KINDS = {
    LINEAR: _Kind(_linear, _linear_point),
    EMBEDDING: _Kind(_embedding, _embedding_point),
    SCALE: _Kind(_scale, _scale_point),
    SHIFT: _Kind(_shift, _shift_point),
}
