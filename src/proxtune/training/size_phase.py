"""The milestone: until then a training is free, from then on it is held to its size, taught by what it was.

At the milestone the bytes are allotted by what each weight is worth, which is known by now: its squared gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from proxtune.checkpoint.state import Progress
from proxtune.compression.size_constraint import Constraint
from proxtune.methods.registry import METHODS
from proxtune.runtime.inference import said_at_last
from proxtune.training.bit_allocation import allotted
from proxtune.training.context import Training
from proxtune.training.memory_retry import Record
from proxtune.training.schedule import schedule
from proxtune.training.validation import score_of

FREE_SHARE = 0.5  # of the steps
_RATE = 0.5  # of the learning rate, from then on


def is_time_to_hold(at: Progress, training: Training) -> bool:
    """Whether the model is to be held from this step on. What is not packed needs no learning to be saved."""
    constraint = training.constraint
    if not isinstance(constraint, Constraint) or not constraint.is_learned:
        return False
    by_gradients = METHODS[at.plan.method].uses_gradients
    return by_gradients and at.held_from is None and at.step >= free_steps(at)


def free_steps(at: Progress) -> int:
    """Steps before the milestone, as many as there will be."""
    return math.ceil(FREE_SHARE * at.steps)


def rate_share(at: Progress, training: Training, warm_up: float) -> float:
    """Share of the learning rate: up and down once, or once before the milestone and once lower after it."""
    constraint = training.constraint
    if not isinstance(constraint, Constraint) or not constraint.is_learned:
        return schedule(at.step, at.steps, warm_up)
    if at.held_from is None:
        return schedule(at.step, free_steps(at), warm_up)
    return _RATE * schedule(at.step - at.held_from, at.steps - at.held_from, warm_up)


def hold(at: Progress, training: Training) -> Iterator[Record]:
    """Judge what was learned freely, let it teach what follows, allot the bytes; the best point is sought anew."""
    constraint = training.constraint
    assert isinstance(constraint, Constraint), "there is a size to hold to"
    free = score_of(at.plan, training)
    tokens = at.plan.micro_batch * at.plan.max_length
    constraint.teacher = said_at_last(
        training.model, training.train, training.pad_id, at.plan.autocast, tokens, training.governor
    )
    allocation, changes = allotted(at.plan, training, at.step)
    yield from changes
    constraint.keep()
    at.held_from, at.judged, at.best = at.step, -1, (-1.0, -math.inf)
    training.phases.enter("train")
    yield {
        "kind": "held", "step": at.step, "seconds": round(training.clock.elapsed, 3), "free": free,
        "bytes": allocation.bytes, "cost": allocation.cost, "multiplier": allocation.multiplier,
    }  # fmt: skip
