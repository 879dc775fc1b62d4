"""Training: one loop that yields records, whatever a step is made of; the best point so far is always on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from proxtune.checkpoint.state import TrainingState
from proxtune.config.plan import Plan
from proxtune.data.batching import epoch_batches, rows_in
from proxtune.errors import Interrupted
from proxtune.memory.governor import is_refusal
from proxtune.methods.linear_head import soften_head
from proxtune.methods.registry import find_method
from proxtune.storage.events import Event, StepEvent
from proxtune.training.context import StepResult, Training
from proxtune.training.gradient_step import gradient_step_maker
from proxtune.training.left_out_rows import leave_out, without_left_out
from proxtune.training.memory_retry import NothingSmaller, error_line
from proxtune.training.neighbour_step import neighbour_step_maker
from proxtune.training.nonfinite import back_off, rejected_event
from proxtune.training.schedule import reschedule
from proxtune.training.size_phase import is_size_phase_due, rate_share, start_size_phase
from proxtune.training.validation import is_validation_due, validate, validate_at_stop


def train(plan: Plan, training: Training) -> Iterator[Event]:
    """Train for `plan.steps` steps, fewer or more when the clock says so; yields records of kind step, validation, step_down, …

    A training that was begun before continues from its last snapshot. What knows its task before the first step is
    evaluated there too, and never ends worse. Rows that memory refuses even one at a time are left out; where no
    row can be computed any more, it ends early with the better of the latest weights and the best. Raises Interrupted after a
    snapshot, with the best point so far safe, what a refused allocation raises when nothing was learned yet, and UserError when
    losses stay not finite.
    """
    clock, checkpointer = training.clock, training.checkpointer
    method = find_method(plan.method)
    step_maker = gradient_step_maker(plan, training) if method.uses_gradients else neighbour_step_maker(plan, training)
    rows_of = _BatchOrder(plan.batch, training)
    state, continued = checkpointer.resume(step_maker, TrainingState(plan, plan.steps))
    state.rows_seen = rows_of.count(state.step)
    if continued is not None:
        yield replace(continued, examples_seen=state.rows_seen)
    if state.size_phase_step is not None:
        training.constraint.load()
    training.phases.enter("train")
    step_seconds: list[float] = []

    while True:
        if is_size_phase_due(state, training):
            yield from start_size_phase(state, training)
        if is_validation_due(state, training):
            yield from validate(state, training)
        if state.step >= state.steps:
            return
        yield from checkpointer.save_if_due(step_maker, state)
        if state.step == 0 and plan.head_rows and method.uses_gradients:
            soften_head(training.model)  # after what the head itself reaches is on disk
        rows = rows_of.step(state.step)
        step_before, began = state.step, clock.elapsed
        done: StepResult | None
        try:
            share = state.rate_share * rate_share(state, training, method.warm_up)
            fitting = without_left_out(rows, state.step + 1, training)
            done = step_maker.make_step(state.plan, fitting, state.step, share)
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error) or (state.step == 0 and state.best[0] < 0):
                raise
            done, why = None, error_line(error)
            step_downs = error.step_downs if isinstance(error, NothingSmaller) else []
        if done is None:  # when what was refused is gone
            yield from step_downs
            yield from _end_early(state, why, training)
            return
        yield from done.step_downs
        state.plan, state.step, state.rows_seen = done.plan, state.step + 1, state.rows_seen + len(rows)
        step_seconds.append(clock.elapsed - began)
        yield from leave_out(state, done, training)
        yield _step_event(state, done, training)
        if done.rejected is not None:
            yield rejected_event(state, done, training)
        if method.uses_gradients:
            state, events, is_over = back_off(state, done, step_maker, training)
            yield from events
            if is_over:
                return
            if state.step != step_before + 1:  # gone back
                state.rows_seen = rows_of.count(state.step)
        yield from reschedule(state, step_seconds, training)
        if state.step < state.steps and training.interrupted():
            yield from checkpointer.save(step_maker, state)
            yield validate_at_stop(state, training)
            raise Interrupted(f"stopped after {state.step} of {state.steps} steps")


def _end_early(state: TrainingState, why: str, training: Training) -> Iterator[Event]:
    """No row can be computed any more: the latest weights, which a refused step leaves as they are, against the best."""
    yield training.governor.record(state.plan.name, "the best weights so far", why, state.step, training.clock.elapsed)
    state.steps = state.step
    if state.validated_step != state.step:
        yield from validate(state, training)


@dataclass(slots=True)
class _BatchOrder:
    """Which rows a step learns from. State: the order of the epoch that it is in."""

    batch: int
    training: Training
    epoch: int = -1
    batches: list[np.ndarray] = field(default_factory=list)

    def step(self, number: int) -> np.ndarray:
        """The rows of a step, by number."""
        data = self.training.train
        epoch, place = divmod(number, math.ceil(len(data) / self.batch))
        if epoch != self.epoch:
            self.epoch, self.batches = epoch, epoch_batches(data.lengths, self.batch, self.training.seed, epoch)
        return self.batches[place]

    def count(self, steps: int) -> int:
        """The rows of all steps before."""
        return rows_in(self.training.train.lengths, self.batch, self.training.seed, steps)


def _step_event(state: TrainingState, done: StepResult, training: Training) -> StepEvent:
    return StepEvent(
        step=state.step,
        steps=state.steps,
        seconds=round(training.clock.elapsed, 3),
        loss=round(done.loss, 6),
        learning_rate=done.learning_rate,
        memory_bytes=training.phases.meter.now() + training.phases.others_bytes,
        examples_seen=state.rows_seen,
        rule=done.rule,
        spread=done.spread,
    )
