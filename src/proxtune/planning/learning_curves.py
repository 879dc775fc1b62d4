"""The race: who trains for a share of the time before the plan is final, and whose learning curve wins.

Priors rank methods by what other models and other rows came to. Where the model knows the task already, a few steps of each say
more: on English and German SmolLM2 the prior of one block cost 17 points of chrF (docs/decisions.md, 2026-11-30).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxtune.config.budget import Budget
from proxtune.config.plan import Cost, Plan
from proxtune.methods.registry import AUTO, find_method
from proxtune.planning.cost_model import seconds_per_step
from proxtune.planning.profile import Profile

_SHARE = 0.08  # of the time, for all laps together; loading and judging take half as much again
_MOST = 3  # contenders: each costs the others steps
_LEAST_STEPS = 4  # of a lap: fewer, in which the learning rate only rises, tell no method from another
_CLEAR = 0.01  # of loss: a smaller lead is noise, and the better prior holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """What a contender came to: (seconds of training, validation loss) from before the first step on.

    `refused` says why it came to nothing.
    """

    plan: Plan
    steps: int = 0
    losses: tuple[tuple[float, float], ...] = ()
    refused: str = ""

    def loss_after(self, seconds: float) -> float:
        """The loss to expect after so many seconds of training; infinite where the contender is out.

        By a line through the last two points over the logarithm of the time, as learning curves go once they fall; no lower than
        half of what it is, since no line goes on for ever.
        """
        known = [(max(at, 1e-9), loss) for at, loss in self.losses]
        if self.refused or not known or not all(math.isfinite(loss) for _, loss in known):
            return math.inf
        now, loss = known[-1]
        if len(known) < 3 or seconds <= now:
            return loss
        before, loss_before = known[-2]
        slope = (loss - loss_before) / math.log(now / before)
        return max(loss / 2, loss + min(0.0, slope) * math.log(seconds / now))


def contenders(fitting: Sequence[Plan], profile: Profile, budget: Budget, method: str) -> tuple[list[Plan], float]:
    """The plans that race, best prior first, and the seconds that each trains; none where a race does not pay.

    One of each method that learns by gradients. A new head says nothing in its first hundred steps, so there only the prior
    chooses; and so it does where the lap would be too short or the user has chosen.
    """
    if budget.time is None or method != AUTO or profile.traits.new_head or not fitting:
        return [], 0.0
    best: dict[str, Plan] = {}
    for plan in fitting:
        if find_method(plan.method).uses_gradients:
            best.setdefault(plan.method, plan)
    field = list(best.values())[:_MOST]
    while len(field) > 1:
        seconds = _SHARE * budget.time / len(field)
        if all(_LEAST_STEPS * seconds_per_step(plan, profile) <= seconds for plan in field):
            return field, seconds
        field.pop()
    return [], 0.0


def first_loss(laps: Sequence[Lap]) -> float | None:
    """The loss before the first step, the same for all; None where no lap has found it."""
    return next((lap.losses[0][1] for lap in laps if lap.losses), None)


def loss_to_beat_half_way(laps: Sequence[Lap]) -> float:
    """What a lap that is clearly above it half-way need not go on for: the lowest that others had by then."""
    return min((lap.losses[1][1] for lap in laps if len(lap.losses) > 1), default=math.inf) + _CLEAR


def winner(laps: Sequence[Lap], seconds_left: float) -> Lap:
    """The lap with the lowest loss to expect at the end; the first, which has the best prior, where none is clearly lower."""
    ends = [lap.loss_after(seconds_left) for lap in laps]
    best = min(range(len(laps)), key=ends.__getitem__)
    return laps[best] if ends[best] < ends[0] - _CLEAR else laps[0]


def can_continue(plan: Plan, raced: Plan) -> bool:
    """Whether `plan` may go on from the steps of `raced`: the same training, but for how many steps there will be."""

    def steps_aside(of: Plan) -> Plan:
        return replace(of, steps=0, epochs=0.0, trainable=0, expected=0.0, cost=Cost({}, 0.0, 0.0))

    return steps_aside(plan) == steps_aside(raced)


def lap_words(lap: Lap) -> str:
    """A lap in words, for tables and the console."""
    if lap.refused:
        return f"out of the race: {lap.refused}"
    seconds, loss = lap.losses[-1]
    return f"loss {lap.losses[0][1]:.3f} → {loss:.3f} in {lap.steps} steps and {seconds:.0f} s of the race"
