"""The sizes that tune themselves: ε, how far neighbours are, and η, how far a step goes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import fmean, pstdev

from proxtune.optim.record import StepRecord
from proxtune.optim.sites import Site, weights_of

_LIFT = 0.3  # of the spread: how much curvature may lift the mean of the neighbours above θ
_LEARN_SPREAD = 0.05
_LEARN_RATIO = 0.1
_ARM = 2**0.25  # a step is this much longer, the next this much shorter
_HARM = 1.0  # spreads by which a step may have made fresh rows worse before it is taken back


@dataclass(frozen=True, slots=True)
class Sizes:
    """ε = `spread`, η = `ratio` · ε; which of them tune themselves; the gain of the last longer step, once it is known."""

    spread: float
    ratio: float
    tune_spread: bool
    tune_ratio: bool
    longer: bool = True  # the step to come
    gain_of_longer: float = math.nan

    @classmethod
    def begin(cls, spread: float, rate: float | None, neighbours: int, tune_spread: bool) -> Sizes:
        """The sizes of the first step; one that is given stays as it is."""
        ratio = neighbours / 4 if rate is None else rate / spread
        return cls(spread, ratio, tune_spread, rate is None)

    @property
    def rate(self) -> float:
        """η of the step to come."""
        arm = (_ARM if self.longer else 1 / _ARM) if self.tune_ratio else 1.0
        return self.spread * self.ratio * arm

    def after(self, record: StepRecord, before: float | None) -> Sizes:
        """The sizes of the next step, from the record of this one and the loss at the point `before` the last one.

        ε: the mean of the neighbours is above θ by half of ε² times the mean curvature, their deviation is ε times the slope.
        ε grows while the ratio is under its target, and shrinks above it. In rounding noise the ratio is about zero: it grows.
        Where the best neighbour is all that counts, ε grows with each success and shrinks with each failure (one in five
        keeps it).

        η: longer and shorter steps alternate; what each gained on rows that it did not see is compared.
        """
        if record.rule == "rejected":
            return replace(self, spread=self.spread / 2 if self.tune_spread else self.spread, longer=not self.longer)
        deviation = pstdev(record.losses)
        spread = self.spread * self._stretch(record, deviation) if self.tune_spread else self.spread
        ratio, gain_of_longer = self.ratio, self.gain_of_longer
        if record.rule == "taken back":
            ratio = ratio / 2 if self.tune_ratio else ratio
        elif self.tune_ratio and before is not None and deviation > 0:
            gain = (before - record.centre) / deviation
            if not self.longer:  # the last step was a longer one
                gain_of_longer = gain
            elif not math.isnan(gain_of_longer):
                size = abs(gain_of_longer) + abs(gain)
                ratio *= math.exp(_LEARN_RATIO * (gain_of_longer - gain) / size) if size else 1.0
        return replace(self, spread=spread, ratio=ratio, longer=not self.longer, gain_of_longer=gain_of_longer)

    def _stretch(self, record: StepRecord, deviation: float) -> float:
        if record.rule in ("greedy", "stayed"):
            return math.exp(0.4 if record.rule == "greedy" else -0.1)
        if deviation == 0:
            return 2.0
        lift = (fmean(record.losses) - record.centre) / deviation
        return math.exp(_LEARN_SPREAD * max(-1.0, min(1.0, _LIFT - lift)))


def harmful(losses: list[float], centre: float, before: float | None) -> bool:
    """Whether the last step made rows that it did not see worse beyond doubt: by more than the neighbours' deviation."""
    return before is not None and centre - before > _HARM * pstdev(losses)


def first_spread(sites: list[Site]) -> float:
    """A hundredth of the usual size of a weight: where the search for ε begins."""
    squares = [(float(site.weight.detach().float().square().mean()), site.weight.numel()) for site in weights_of(sites)]
    total = sum(count for _, count in squares)
    return 0.01 * math.sqrt(sum(mean * count for mean, count in squares) / total) or 1e-3
