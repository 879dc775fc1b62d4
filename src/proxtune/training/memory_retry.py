"""A step that memory refuses is made again in smaller micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from proxtune.config.plan import Plan
from proxtune.memory.governor import Governor, is_refusal
from proxtune.storage.events import StepDown
from proxtune.training.context import Training

T = TypeVar("T")


class NothingSmaller(MemoryError):
    """A step was refused, and there is no smaller one.

    `plan` is the smallest, `step_downs` led to it; `why` it was refused, and `which` rows are named.
    """

    def __init__(self, plan: Plan, step_downs: list[StepDown], why: str, which: str = "") -> None:
        super().__init__("a step of one row does not fit in the memory budget" + (which and f": {which}"))
        self.plan, self.step_downs, self.why = plan, step_downs, why


def faulty_rows(rows: np.ndarray, is_good: Callable[[np.ndarray], bool]) -> list[int]:
    """The rows that alone are at fault (not finite, refused by memory), found by halves; none where only many together are."""
    if is_good(rows):
        return []
    if len(rows) == 1:
        return [int(rows[0])]
    half = len(rows) // 2
    return faulty_rows(rows[:half], is_good) + faulty_rows(rows[half:], is_good)


def with_memory_retry(
    plan: Plan, training: Training, step: int, compute: Callable[[Plan], T], smaller: Callable[[Plan], Plan | None]
) -> tuple[Plan, T, list[StepDown]]:
    """`compute(plan)`; the same again in a `smaller` plan's micro-batches when memory is refused, or nearly so.

    Raises NothingSmaller, a MemoryError, when there is no smaller plan.
    """
    changes: list[StepDown] = []
    governor, meter, clock = training.governor, training.phases.meter, training.clock
    if governor.is_crowded():
        meter.trim()
        if governor.is_crowded() and plan.micro_batch > 1:
            halved = plan.with_micro_batch(plan.micro_batch // 2)
            before, after = micro_batch_label(plan), micro_batch_label(halved)
            changes.append(governor.record(before, after, "close to the budget", step, clock.elapsed))
            plan = halved
    while True:
        try:
            return plan, compute(plan), changes
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error):
                raise
            why = error_line(error)
        meter.trim()
        less = smaller(plan)
        if less is None:
            raise NothingSmaller(plan, changes, why)
        changes.append(governor.record(micro_batch_label(plan), micro_batch_label(less), why, step, clock.elapsed))
        plan = less


def run_within_limit(compute: Callable[[], T], governor: Governor, undo: Callable[[], None] = lambda: None) -> T:
    """`compute()` under the limit, which is set anew where address space and not memory has run out.

    Raises what a refused allocation raises (`is_refusal`), after `undo`.
    """
    governor.renew()
    while True:
        try:
            return governor.thread.run(compute)
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error):
                raise
            undo()
            governor.thread.replace()
            if not governor.renew():
                raise


def error_line(error: BaseException) -> str:
    """The first line of what an error says; Python's own MemoryError says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


def micro_batch_label(plan: Plan) -> str:
    """How much a plan computes at a time, in words."""
    words = f"micro-batch {plan.micro_batch}" + (" with checkpointing" if plan.checkpointing else "")
    words += " with streamed weights" if plan.streamed else ""
    return words + (" with the tight allocator" if plan.allocator == "tight" else "")
