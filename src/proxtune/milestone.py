"""The milestone: until then a training is free, from then on it is held to its size, taught by what it was.

At the milestone the bytes are allotted by what each weight is worth, which is known by now: its squared gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from proxtune.batches import collate
from proxtune.constraint import Constraint
from proxtune.evaluate import said_of
from proxtune.feasible.held import HALF_BITS
from proxtune.feasible.sensitivity import diagonal_fisher
from proxtune.judgement import score_of
from proxtune.methods import METHODS
from proxtune.pace import schedule
from proxtune.progress import Progress
from proxtune.steps import Record, Training

FREE_SHARE = 0.5  # of the steps
_RATE = 0.5  # of the learning rate, from then on
_ROWS, _BATCHES = 16, 16  # that the worth of weights is taken from


def is_time_to_hold(at: Progress, training: Training) -> bool:
    """Whether the model is to be held from this step on. What is not packed needs no learning to be saved."""
    constraint = training.constraint
    if not isinstance(constraint, Constraint) or constraint.structure.bits >= HALF_BITS:
        return False
    by_gradients = METHODS[at.plan.method].uses_gradients
    return by_gradients and at.held_from is None and at.step >= free_steps(at)


def free_steps(at: Progress) -> int:
    """Steps before the milestone, as many as there will be."""
    return math.ceil(FREE_SHARE * at.steps)


def rate_share(at: Progress, training: Training, warm_up: float) -> float:
    """Share of the learning rate: up and down once, or once before the milestone and once lower after it."""
    constraint = training.constraint
    if not isinstance(constraint, Constraint) or constraint.structure.bits >= HALF_BITS:
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
    constraint.teacher = said_of(
        training.model, training.train, training.pad_id, at.plan.autocast, tokens, training.governor
    )
    allocation = constraint.settle(importance_of(at, training))
    constraint.keep()
    at.held_from, at.judged, at.best = at.step, -1, (-1.0, -math.inf)
    training.phases.enter("train")
    yield {
        "kind": "held", "step": at.step, "seconds": round(training.clock.elapsed, 3), "free": free,
        "bytes": allocation.bytes, "cost": allocation.cost, "multiplier": allocation.multiplier,
    }  # fmt: skip


def importance_of(at: Progress, training: Training) -> dict[str, Tensor]:
    """For each row of a weight, (rows,), the mean square of a few batches' derivatives by its numbers."""
    model, data = training.model, training.train
    device = next(model.parameters()).device
    random = np.random.default_rng(training.seed)
    several = (
        random.choice(len(data), min(_ROWS, at.plan.micro_batch, len(data)), replace=False) for _ in range(_BATCHES)
    )

    def loss_of(rows: np.ndarray) -> Tensor:
        ids, mask = collate(data, rows, training.pad_id)
        with torch.autocast(device.type, torch.bfloat16, enabled=at.plan.dtype == "bf16"):
            logits = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        return torch.nn.functional.cross_entropy(logits.float(), torch.from_numpy(data.labels[rows]).to(device))

    found = diagonal_fisher(dict(model.named_parameters()), loss_of, several, by_row=True)
    return {name: square.flatten() for name, square in found.items()}
