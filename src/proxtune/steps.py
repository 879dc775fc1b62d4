"""Steps: what a way to learn is given, what a step of it answers, and how a step is made in bites that fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from proxtune.clock import Clock
from proxtune.constraint import Constraint, NoConstraint
from proxtune.headers import Entry
from proxtune.keeping import Keeper
from proxtune.memory.govern import Governor, is_refusal
from proxtune.memory.meter import Phases
from proxtune.optim.record import StepRecord
from proxtune.plan import Plan
from proxtune.tasks.classify import Encoded

Record = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Training:
    """All that the loop reads: the prepared model, the data and what guards them."""

    model: Any
    train: Encoded
    held: Encoded
    pad_id: int
    seed: int
    clock: Clock
    ending_seconds: float  # kept free for the last evaluation, saving and the report
    evaluations: int
    most_steps: int  # where the time allows more than was planned
    governor: Governor
    phases: Phases
    keep_best: Callable[[], None]  # writes the trainable weights, durably
    keep_stopped: Callable[[], None]  # the same where the person stops, beside the best so far
    interrupted: Callable[[], bool]
    keeper: Keeper
    constraint: Constraint | NoConstraint = field(default_factory=NoConstraint)
    where: Callable[[int], str] = "row {}".format  # what the person calls a row: its file and line
    milestone_seconds: float = 0.0  # kept free until the model is held to a size
    judging_steps: float = 0.0  # how many steps a judgement takes as long as, until one was made


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a step did: the plan that it ended with (its bites may be smaller), the loss, and what else is worth a record.

    `rejected` holds the rows at fault, as far as they were found, where the step moved nothing since a number was not finite.
    """

    plan: Plan
    loss: float
    learning_rate: float
    step_downs: list[Record] = field(default_factory=list)
    told: Record = field(default_factory=dict)
    rejected: list[int] | None = None


def nothing_beside(names: Mapping[str, Entry]) -> dict[str, Any]:
    """For steps that keep nothing beside the weights."""
    return {}


@dataclass(frozen=True, slots=True)
class Steps:
    """A way to make steps, and what it has beside the weights, so that it can be gone on with.

    `take(plan, row numbers, number of the step, share of the learning rate)` makes one. `beside()` is what a snapshot keeps,
    named by the weight that it belongs to ("encoder.weight/exp_avg"), and `make(entries)` makes room for the same.
    `again(records, applied)` does again what records say, of which the first `applied` are in the weights already; None for
    steps that no record can repeat.
    """

    take: Callable[[Plan, np.ndarray, int, float], Stepped]
    beside: Callable[[], Mapping[str, Any]] = dict
    make: Callable[[Mapping[str, Entry]], Mapping[str, Any]] = nothing_beside
    again: Callable[[list[StepRecord], int], None] | None = None


def faulty_rows(rows: np.ndarray, is_finite: Callable[[np.ndarray], bool]) -> list[int]:
    """The rows that alone make a number that is not finite, found by halves; none where only many together do."""
    if is_finite(rows):
        return []
    if len(rows) == 1:
        return [int(rows[0])]
    half = len(rows) // 2
    return faulty_rows(rows[:half], is_finite) + faulty_rows(rows[half:], is_finite)


def in_bites(
    plan: Plan, training: Training, step: int, compute: Callable[[Plan], T], smaller: Callable[[Plan], Plan | None]
) -> tuple[Plan, T, list[Record]]:
    """`compute(plan)`; the same again in a `smaller` plan's bites when memory is refused, or nearly so.

    Raises MemoryError when there is no smaller plan.
    """
    changes: list[Record] = []
    governor, meter, clock = training.governor, training.phases.meter, training.clock
    if governor.is_crowded():
        meter.give_back()
        if governor.is_crowded() and plan.micro_batch > 1:
            halved = plan.with_micro_batch(plan.micro_batch // 2)
            changes.append(governor.record(bite(plan), bite(halved), "close to the budget", step, clock.elapsed))
            plan = halved
    while True:
        try:
            return plan, compute(plan), changes
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error):
                raise
            why = reason(error)
        meter.give_back()
        less = smaller(plan)
        if less is None:
            raise MemoryError("a step of one row does not fit in the memory budget")
        changes.append(governor.record(bite(plan), bite(less), why, step, clock.elapsed))
        plan = less


def governed(compute: Callable[[], T], governor: Governor, undo: Callable[[], None] = lambda: None) -> T:
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


def reason(error: BaseException) -> str:
    """The first line of what an error says; Python's own MemoryError says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


def bite(plan: Plan) -> str:
    """How much a plan computes at a time, in words."""
    words = f"micro-batch {plan.micro_batch}" + (" with checkpointing" if plan.checkpointing else "")
    return words + (" with the tight allocator" if plan.allocator == "tight" else "")
