"""The update: W ← W − η Σₖ gₖ aₖ bₖᵀ, one product of rank K for each weight, the same to the last bit everywhere.

The coefficients gₖ are whole numbers in 256ths, so that the product sums whole numbers below 2²⁴, which float32 holds exactly
in any order. What follows is one multiplication and one subtraction for each weight, each rounded once. A weight of 16 bits
is rounded up or down at random with the odds that keep the expectation: an update below the last bit is not lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import fsum, sqrt

import torch
from torch import Tensor

from proxtune.optim.archive import WHOLE, Archive
from proxtune.optim.neighbours import Directions, combined, directions
from proxtune.optim.philox import dither
from proxtune.optim.sites import Site, weights_of
from proxtune.optim.step_record import MOVING, StepRecord

UNIT = 256  # coefficients are whole numbers of 1/UNIT
MOST = 4.0  # deviations beyond which a coefficient is cut
_AT_A_TIME = 1 << 19  # numbers of a weight: two megabytes
Move = Callable[[Site, slice], Tensor]  # of some rows of a weight, float32 in their shape; it is spoiled


def coefficients(losses: list[float]) -> list[int]:
    """Losses, centred and in units of their deviation, cut at four, as whole numbers of 1/256. Zeros when all are equal.

    Python's own arithmetic on doubles, summed exactly: the same everywhere.
    """
    count = len(losses)
    mean = fsum(losses) / count
    deviation = sqrt(fsum((loss - mean) ** 2 for loss in losses) / count)
    if deviation == 0:
        return [0] * count
    return [round(UNIT * max(-MOST, min(MOST, (loss - mean) / deviation))) for loss in losses]


def moves_of(record: StepRecord) -> tuple[list[int], float]:
    """A step's move as whole numbers wₖ and a length: θ ← θ − length · Σₖ wₖ Δₖ."""
    if record.rule == "greedy":
        best = min(range(len(record.losses)), key=record.losses.__getitem__)
        return [-1 if k == best else 0 for k in range(len(record.losses))], record.spread
    assert record.rule == "estimate", record.rule
    return coefficients(list(record.losses)), record.rate / (UNIT * len(record.losses))


def apply_record(
    sites: list[Site],
    record: StepRecord,
    last: StepRecord | None,
    archive: Archive | None,
    ways: Directions | None = None,
) -> None:
    """Do to the weights what a record says: move, take the `last` step back, or nothing. `ways`: its directions, if at hand.

    The rule "nearest" needs the `archive`, and fills it.
    """
    moving, forth = (record, 1) if record.rule in MOVING else (last, -1) if record.rule == "taken back" else (None, 0)
    if moving is None:
        return
    if ways is None or moving is not record:
        ways = directions(sites, moving.seed, moving.step, len(moving.losses))
    if record.rule == "nearest":
        assert archive is not None, "a slope through the nearest points needs points"
        archive.remember(sites, ways, record)
        slope = archive.slope(sites, record.spread)
        apply_update(
            sites, lambda site, part: slope[site.stream][part].clone(), record.rate / WHOLE, record.seed, record.step
        )
        return
    weighted, length = moves_of(moving)
    apply_update(
        sites, lambda site, part: combined(site, ways, weighted, part), forth * length, record.seed, record.step
    )


def apply_update(sites: list[Site], move: Move, length: float, seed: int, step: int) -> None:
    """θ ← θ − length · move. Seed and step name the random bits of rounding."""
    weights = list(weights_of(sites))
    narrow = [site for site in weights if site.weight.dtype == torch.bfloat16]
    asked = [(site.stream, site.rows + site.columns) for site in narrow]
    drawn = dither(seed, step, asked, weights[0].weight.device) if narrow else []
    bits = {site.stream: own.to(site.weight.device) for site, own in zip(narrow, drawn, strict=True)}
    with torch.no_grad():
        for site in weights:
            for part in _pieces(site):
                _subtract(site, part, move(site, part).mul_(length), bits.get(site.stream))


def _pieces(site: Site) -> Iterator[slice]:
    """Rows of a weight, so many that all the passes over them find them in the cache."""
    rows = max(1, _AT_A_TIME // site.columns)
    for begin in range(0, site.rows, rows):
        yield slice(begin, min(begin + rows, site.rows))


def _subtract(site: Site, part: slice, move: Tensor, drawn: Tensor | None) -> None:
    weight = site.weight[part]
    if weight.dtype == torch.float32:
        weight.sub_(move)
        return
    assert drawn is not None, "a weight of 16 bits is rounded at random"
    wanted = weight.float().sub_(move)
    weight.copy_(_to_bf16_at_random(wanted, drawn[: site.rows][part], drawn[site.rows :]))


def _to_bf16_at_random(wanted: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Round to bfloat16, up with the odds of the part that is cut off. `wanted` is float32 and is spoiled.

    The dither of a place is that of its row plus that of its column, modulo 2¹⁶: uniform at each place, and cheap.
    """
    flat = wanted.reshape(len(wanted), -1)
    places = (rows[:, None] + columns[None, :]).bitwise_and_(0xFFFF)
    bits = flat.view(torch.int32).add_(places)
    return bits.bitwise_and_(~0xFFFF).view(torch.float32).reshape(wanted.shape)
