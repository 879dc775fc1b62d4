"""The size phase: before it training is free; in it the model is held to its size, and learns from what it was before.

When it starts, the bytes are allocated by what each weight is worth, which is known by now: its squared gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from proxtune.checkpoint.state import TrainingState
from proxtune.methods.registry import find_method
from proxtune.runtime.inference import final_outputs
from proxtune.storage.events import Event, SizePhaseBegun
from proxtune.training.bit_allocation import allocate_bits
from proxtune.training.context import Training
from proxtune.training.schedule import schedule
from proxtune.training.validation import validation_scores

FREE_SHARE = 0.5  # of the steps
_RATE = 0.5  # of the learning rate, from then on


def is_size_phase_due(state: TrainingState, training: Training) -> bool:
    """Whether the model is to be held from this step on. What is not packed needs no learning to be saved."""
    constraint = training.constraint
    if not constraint.needs_training:
        return False
    by_gradients = find_method(state.plan.method).uses_gradients
    return by_gradients and state.size_phase_step is None and state.step >= free_steps(state)


def free_steps(state: TrainingState) -> int:
    """Steps before the size phase, as many as there will be."""
    return math.ceil(FREE_SHARE * state.steps)


def rate_share(state: TrainingState, training: Training, warm_up: float) -> float:
    """Share of the learning rate: up and down once, or once before the size phase and once lower in it."""
    constraint = training.constraint
    if not constraint.needs_training:
        return schedule(state.step, state.steps, warm_up)
    if state.size_phase_step is None:
        return schedule(state.step, free_steps(state), warm_up)
    return _RATE * schedule(state.step - state.size_phase_step, state.steps - state.size_phase_step, warm_up)


def start_size_phase(state: TrainingState, training: Training) -> Iterator[Event]:
    """Evaluate what was learned freely, let it teach what follows, allocate the bytes; the best point is sought anew."""
    constraint = training.constraint
    free = validation_scores(state.plan, training)
    tokens = state.plan.micro_batch * state.plan.max_length
    constraint.teacher = final_outputs(
        training.model, training.train, training.pad_id, state.plan.autocast, tokens, training.governor
    )
    allocation, changes = allocate_bits(state.plan, training, state.step)
    yield from changes
    constraint.save()
    state.size_phase_step, state.validated_step, state.best = state.step, -1, (-1.0, -math.inf)
    training.phases.enter("train")
    yield SizePhaseBegun(
        step=state.step,
        seconds=round(training.clock.elapsed, 3),
        metrics=free,
        allocated_bytes=allocation.bytes,
        cost=allocation.cost,
        multiplier=allocation.multiplier,
    )
