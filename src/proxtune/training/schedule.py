"""Pace: how many steps fit the time, and the learning rate that goes with it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proxtune.checkpoint.history import Rescheduled
from proxtune.checkpoint.state import TrainingState
from proxtune.storage.events import ScheduleChange
from proxtune.training.context import Training

_LOOK_AGAIN = 25  # steps between looks at whether there is time for more, at the most
_SURE = 0.95  # of what seems possible is promised anew
_MUCH = (
    1.25  # times the steps: so many more pay near the end too, where fewer only lift a learning rate that has fallen
)
_FIRST = 3  # steps that say next to nothing: in the first, memory and kernels are made ready


def schedule(step: int, steps: int, warm_up: float) -> float:
    """Share of the learning rate at `step` of `steps`: linear up for the share `warm_up` of them, then linear down to zero."""
    warm = max(1, round(warm_up * steps))
    return min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))


def reschedule(state: TrainingState, step_seconds: list[float], training: Training) -> Iterator[ScheduleChange]:
    """Let the schedule end earlier or later as the clock says, or as it said before a resume."""
    past_schedule = training.checkpointer.past_schedule(state)
    fitting = _steps_in_time(state, step_seconds, training) if past_schedule is None else past_schedule
    if fitting == state.steps:
        return
    if past_schedule is None:
        training.checkpointer.record_event(Rescheduled(step=state.step, steps=fitting))
    seconds = round(training.clock.elapsed, 2)
    yield ScheduleChange(step=state.step, seconds=seconds, before=state.steps, after=fitting)
    state.steps = fitting


def _steps_in_time(state: TrainingState, step_seconds: list[float], training: Training) -> int:
    """`state.steps`, or as many as fit the time that is left: the schedule ends earlier or later,
    and the learning rate with it.
    """
    limit, step, steps = training.clock.limit_seconds, state.step, state.steps
    few = min(20, steps // 4)
    if limit is None or (
        len(step_seconds) < few and training.clock.left > limit / 2
    ):  # the first are slow, and say little
        return steps
    if len(step_seconds) < _FIRST and training.clock.left - training.ending_seconds > _FIRST * max(step_seconds):
        return steps  # where little time is left too, as long as the first few themselves fit
    recent = step_seconds[-50:]
    mean_seconds, typical_seconds = float(np.mean(recent)), float(np.median(recent))
    done = step / max(1, steps)
    validations = training.final_validations
    if training.evaluations > 1:
        validations += max(1.0, (1 - done) * (training.evaluations - 1) + 0.5)
    waiting = training.size_phase_seconds if state.size_phase_step is None else 0.0
    foreseen_seconds = training.validation_seconds or training.validation_steps * min(mean_seconds, typical_seconds)
    validation_seconds = state.validation_seconds or foreseen_seconds
    spare = training.clock.left - training.ending_seconds - waiting - validations * validation_seconds
    possible = step + max(0, int(spare / max(mean_seconds, 1e-6)))
    longer = min(training.max_steps, step + int(_SURE * (possible - step)))
    if longer > (steps if done < 0.8 else _MUCH * steps) and step % max(1, min(_LOOK_AGAIN, steps // 8)) == 0:
        return longer
    # a small overrun is noise until the end is near
    return steps if possible >= steps or (possible > 0.97 * steps and done < 0.9) else max(step, possible)
