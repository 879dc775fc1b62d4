"""Rows that memory refuses even one at a time: found, named, and left out from then on. The rest of their batch is learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from proxtune.checkpoint.history import LeftOut
from proxtune.checkpoint.state import TrainingState
from proxtune.config.plan import Plan
from proxtune.memory.governor import is_refusal
from proxtune.storage.events import RowsLeftOut, StepDown
from proxtune.training.context import StepResult, Training
from proxtune.training.memory_retry import NothingSmaller, faulty_rows, micro_batch_label, with_memory_retry

T = TypeVar("T")


def without_left_out(rows: np.ndarray, number: int, training: Training) -> np.ndarray:
    """The rows of step `number`, counted from one, but for those left out up to there, before a resume too."""
    return _without(rows, training.checkpointer.rows_left_out(number))


def with_rows_that_fit(
    plan: Plan,
    training: Training,
    step: int,
    rows: np.ndarray,
    compute: Callable[[Plan, np.ndarray], T],
    attempt: Callable[[Plan, np.ndarray], object],
    smaller: Callable[[Plan], Plan | None],
) -> tuple[Plan, T | None, list[StepDown], list[int]]:
    """`compute(plan, rows)` as `with_memory_retry` does it, and where nothing smaller is left without the rows at fault, which
    are the last of what it returns. None was computed where all of them are.

    `attempt` takes as much memory and moves nothing; it may open a way that takes less, for `compute` too. Raises NothingSmaller
    where not even the shortest row of all can be computed, or the rest of the batch is refused again.
    """
    if not len(rows):
        return plan, None, [], []
    try:
        plan, found, changes = with_memory_retry(plan, training, step, lambda plan: compute(plan, rows), smaller)
        return plan, found, changes, []
    except NothingSmaller as end:
        plan, changes, why = end.plan, end.step_downs, end.why
    training.phases.meter.trim()

    def fits(some: np.ndarray) -> bool:
        try:
            attempt(plan, some)
            return True
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error):
                raise
        training.phases.meter.trim()  # when what was refused is gone
        return False

    left_out = faulty_rows(rows, fits)
    rest = _without(rows, left_out)
    if not len(rest):
        shortest = int(np.argmin(training.train.lengths))
        if not fits(np.asarray([shortest])):
            raise NothingSmaller(plan, changes, why, f"not even {training.where(shortest)}, the shortest")
        return plan, None, changes, left_out
    try:
        plan, found, _ = with_memory_retry(plan, training, step, lambda plan: compute(plan, rest), lambda plan: None)
    except NothingSmaller:
        names = ", ".join(map(training.where, left_out))
        raise NothingSmaller(plan, changes, why, names or "its rows one after another") from None
    after = "rows one at a time" + (f", {len(left_out)} of them left out" if left_out else "")
    changes.append(training.governor.record(micro_batch_label(plan), after, why, step, training.clock.elapsed))
    return plan, found, changes, left_out


def leave_out(state: TrainingState, done: StepResult, training: Training) -> Iterator[RowsLeftOut]:
    """Note which rows a step left out, so that a resumed run leaves out the same, and tell the user."""
    if not done.left_out:
        return
    training.checkpointer.record_event(LeftOut(step=state.step, rows=tuple(done.left_out)))
    seconds = round(training.clock.elapsed, 3)
    yield RowsLeftOut(step=state.step, seconds=seconds, rows=tuple(map(training.where, done.left_out)))


def _without(rows: np.ndarray, left_out: frozenset[int] | list[int]) -> np.ndarray:
    return rows[~np.isin(rows, list(left_out))] if left_out else rows
