"""What is left of a multiple-choice knapsack once a price per byte is known: all partial sums that may still be the best.

With reduced costs r = cost + λ·bytes - min (cost + λ·bytes) ≥ 0, an allocation costs Σ r + λ·(unused bytes) more than the bound
g(λ). Something better than a known allocation therefore keeps that sum below the known gap, and so must every part of it: tensor
by tensor, of all partial sums only those are kept that fit, can stay below the gap, and are not undercut by a smaller one.
With sixty tensors of seven choices that leaves some dozens, with four hundred some hundreds (Nemhauser and Ullmann 1969, with
the bound of Dyer, Kayal and Walker 1984).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MOST_SUMS = 1_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """What a tensor may choose: its bytes, int64, and its reduced costs, float64; at least one of these is zero."""

    bytes: np.ndarray
    reduced: np.ndarray


@dataclass(frozen=True, slots=True)
class _Sums:
    """Partial sums by bytes; each knows the sum that it came from, and the choice that was added."""

    bytes: np.ndarray
    reduced: np.ndarray
    came_from: np.ndarray
    added: np.ndarray


def best_sum(tensors: list[Options], limit: int, price: float, gap: float) -> list[int] | None:
    """The choice of each tensor in the best allocation within `gap` of the bound; None where there is none.

    Raises OverflowError when more than a million partial sums stay open.
    """
    order = sorted(
        range(len(tensors)), key=lambda place: -int(np.ptp(tensors[place].bytes))
    )  # so that the rest is soon small
    least = sum(int(tensor.bytes.min()) for tensor in tensors)
    most = sum(int(tensor.bytes.max()) for tensor in tensors)
    start = np.zeros(1, dtype=np.int64)
    levels = [_Sums(bytes=start, reduced=np.zeros(1), came_from=start, added=start)]
    for place in order:
        own = tensors[place]
        least, most = least - int(own.bytes.min()), most - int(own.bytes.max())
        levels.append(_grown(levels[-1], own, limit - least, limit - most, price, gap))
        if len(levels[-1].bytes) > _MOST_SUMS:
            raise OverflowError(f"more than {_MOST_SUMS} partial sums stay open")
    last = levels[-1]
    if len(last.bytes) == 0:
        return None
    at = int(np.argmin(last.reduced + price * (limit - last.bytes)))
    picked = [0] * len(tensors)
    for place, level in zip(reversed(order), reversed(levels[1:]), strict=True):
        picked[place], at = int(level.added[at]), int(level.came_from[at])
    return picked


def _grown(sums: _Sums, own: Options, most_bytes: int, full_from: int, price: float, gap: float) -> _Sums:
    """Each sum with each choice. A sum below `full_from` leaves bytes unused whatever is still to come."""
    size = (sums.bytes[:, None] + own.bytes).ravel()
    reduced = (sums.reduced[:, None] + own.reduced).ravel()
    came_from, added = np.divmod(np.arange(size.size), len(own.bytes))
    kept = np.flatnonzero((size <= most_bytes) & (reduced + price * np.maximum(0, full_from - size) <= gap))
    cost = reduced[kept] - price * size[kept]
    by_size = np.lexsort((cost, size[kept]))
    cost = cost[by_size]
    cheaper = np.concatenate([[True], cost[1:] < np.minimum.accumulate(cost)[:-1]]) if len(cost) else slice(None)
    kept = kept[by_size][cheaper]
    return _Sums(bytes=size[kept], reduced=reduced[kept], came_from=came_from[kept], added=added[kept])
