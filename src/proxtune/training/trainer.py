"""Training: one loop that yields records, whatever a step is made of; the best point so far is always on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from proxtune.checkpoint.state import Progress
from proxtune.compression.size_constraint import Constraint
from proxtune.config.plan import Plan
from proxtune.data.batching import epoch_batches, rows_in
from proxtune.errors import Interrupted
from proxtune.methods.registry import METHODS
from proxtune.training.context import Stepped, Training
from proxtune.training.gradient_step import gradient_steps
from proxtune.training.memory_retry import Record
from proxtune.training.neighbour_step import neighbour_steps
from proxtune.training.nonfinite import backed_off, rejection
from proxtune.training.schedule import rescheduled
from proxtune.training.size_phase import hold, is_time_to_hold, rate_share
from proxtune.training.validation import is_due, judged, stopped


def train(plan: Plan, training: Training) -> Iterator[Record]:
    """Train for `plan.steps` steps, fewer or more when the clock says so; yields records of kind step, validation, step_down, …

    A training that was begun before goes on from its last snapshot. What begins from something that knows already (`nno`) is
    judged before its first step too, and never ends worse. Raises Interrupted after a snapshot, with the best point so far
    safe, MemoryError when no step-down is left and nothing was learned yet, and PersonError when losses stay not finite.
    """
    clock, governor, keeper = training.clock, training.governor, training.keeper
    method = METHODS[plan.method]
    steps = gradient_steps(plan, training) if method.uses_gradients else neighbour_steps(plan, training)
    rows_of = _Order(plan.batch, training)
    at, told = keeper.begin(steps, Progress(plan, plan.steps))
    at.seen = rows_of.count(at.step)
    yield from ({**record, "examples_seen": at.seen} for record in told)
    if at.held_from is not None and isinstance(training.constraint, Constraint):
        training.constraint.take_up()
    training.phases.enter("train")
    step_seconds: list[float] = []

    while True:
        if is_time_to_hold(at, training):
            yield from hold(at, training)
        if is_due(at, training, from_the_first=not method.uses_gradients):
            yield from judged(at, training)
        if at.step >= at.steps:
            return
        yield from keeper.save_if_due(steps, at)
        rows = rows_of.step(at.step)
        begun, began = at.step, clock.elapsed
        try:
            done = steps.take(at.plan, rows, at.step, at.rate_share * rate_share(at, training, method.warm_up))
        except MemoryError:
            if at.step == 0:
                raise
            if at.best[0] < 0:  # not judged yet, but learned: better than nothing
                training.keep_best()
            yield governor.record(
                at.plan.name, "the best weights so far", "no smaller step is left", at.step, clock.elapsed
            )
            return
        yield from done.step_downs
        at.plan, at.step, at.seen = done.plan, at.step + 1, at.seen + len(rows)
        step_seconds.append(clock.elapsed - began)
        yield _step_record(at, done, training)
        if done.rejected is not None:
            yield rejection(at, done, training)
        if method.uses_gradients:
            at, told, is_over = backed_off(at, done, steps, training)
            yield from told
            if is_over:
                return
            if at.step != begun + 1:  # gone back
                at.seen = rows_of.count(at.step)
        yield from rescheduled(at, step_seconds, training)
        if at.step < at.steps and training.interrupted():
            yield from keeper.save(steps, at)
            yield stopped(at, training)
            raise Interrupted(f"stopped after {at.step} of {at.steps} steps")


@dataclass(slots=True)
class _Order:
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


def _step_record(at: Progress, done: Stepped, training: Training) -> Record:
    return {
        "kind": "step",
        "step": at.step,
        "steps": at.steps,
        "seconds": round(training.clock.elapsed, 3),
        "loss": round(done.loss, 6),
        "learning_rate": done.learning_rate,
        "memory_bytes": training.phases.meter.now() + training.phases.others_bytes,
        "examples_seen": at.seen,
        **done.told,
    }
