"""The sizes that tune themselves: ε, how far neighbours are, and η, how far a step goes.

With the slope s = deviation / ε and the lift that curvature gives the neighbours' mean above θ, a step of η gains
c·η·s − η² · lift / (K ε²), where c is the share of the batch's slope that other rows have too. The most is gained at
η = ε · c · K · deviation / (2 · lift): η goes with ε and with K. What is best for one step is too short for many, since most of
what noise costs is won back by the steps that follow: so η is not tuned to what each step gained. It begins large, falls by
the caller's schedule, and yields where a step did harm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import fmean, pstdev

from proxtune.optim.sites import Site, weights_of
from proxtune.optim.step_record import StepRecord

_LIFT = 0.3  # of the spread: how much curvature may lift the mean of the neighbours above θ
_LEARN_SPREAD = 0.05
_REACH = 0.6  # η = this · K · ε: c = 0.36 and the lift at its target
_RECOVERY = 1.05
_WIDEST = 1e4  # times the first ε: where all is flat, it would double for ever
_HARM = 3.0  # times what chance does to rows that a step did not learn from


@dataclass(frozen=True, slots=True)
class Sizes:
    """ε = `spread`, η = `ratio` · ε; which of them tune themselves; the largest ratio, the widest spread."""

    spread: float
    ratio: float
    tune_spread: bool
    tune_ratio: bool
    most: float
    widest: float

    @classmethod
    def initial(cls, spread: float, rate: float | None, neighbours: int, dimensions: int, tune_spread: bool) -> Sizes:
        """The sizes of the first step; one that is given stays as it is."""
        ratio = _REACH * effective_points(neighbours, dimensions) if rate is None else rate / spread
        return cls(
            spread=spread,
            ratio=ratio,
            tune_spread=tune_spread,
            tune_ratio=rate is None,
            most=ratio,
            widest=_WIDEST * spread,
        )

    @property
    def rate(self) -> float:
        """η of the step to come, before the caller's schedule."""
        return self.spread * self.ratio

    def after(self, record: StepRecord) -> Sizes:
        """The sizes of the next step, from the record of this one.

        ε: the mean of the neighbours is above θ by half of ε² times the mean curvature, their deviation is ε times the slope.
        ε grows while the ratio is under its target, and shrinks above it. In rounding noise the ratio is about zero: it grows.
        Where the best neighbour is all that counts, ε grows with each success and shrinks with each failure (one in five
        keeps it).

        η: half of it after a step that had to be taken back, and slowly up again.
        """
        if record.rule == "rejected":
            return replace(self, spread=self.spread / 2 if self.tune_spread else self.spread)
        spread = min(self.widest, self.spread * self._stretch(record)) if self.tune_spread else self.spread
        ratio = self.ratio
        if self.tune_ratio:
            ratio = ratio / 2 if record.rule == "taken back" else min(self.most, ratio * _RECOVERY)
        return replace(self, spread=spread, ratio=ratio)

    def _stretch(self, record: StepRecord) -> float:
        if record.rule in ("greedy", "stayed"):
            return math.exp(0.4 if record.rule == "greedy" else -0.1)
        deviation = pstdev(record.losses)
        if deviation == 0:
            return 2.0
        lift = (fmean(record.losses) - record.centre) / deviation
        return math.exp(_LEARN_SPREAD * max(-1.0, min(1.0, _LIFT - lift)))


def effective_points(points: int, dimensions: int) -> float:
    """How many points' worth a step goes by. More of them than dimensions tell no more: then its own curvature counts."""
    return points * dimensions / (points + dimensions)


def harmful(losses: list[float], centre: float, before: float | None, last: StepRecord | None) -> bool:
    """Whether the `last` step made rows that it did not see worse beyond doubt.

    By chance alone they change by the neighbours' deviation where the step was as long as the way to a neighbour, ε√d, and by
    as much more as it was longer: η√(d/K).
    """
    if before is None or last is None:
        return False
    length = 1.0 if last.rule == "greedy" else last.rate / (last.spread * math.sqrt(len(last.losses)))
    return centre - before > _HARM * max(1.0, length) * pstdev(losses)


def first_spread(sites: list[Site]) -> float:
    """A hundredth of the usual size of a weight: where the search for ε begins."""
    squares = [(float(site.weight.detach().float().square().mean()), site.weight.numel()) for site in weights_of(sites)]
    total = sum(count for _, count in squares)
    return 0.01 * math.sqrt(sum(mean * count for mean, count in squares) / total) or 1e-3
