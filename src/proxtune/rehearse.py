"""The rehearsal: the worst micro-batch and some of each size, run for real before the plan is final, changing nothing.

Tracing ranks; the rehearsal says what this machine will really hold and how long a step takes. It computes gradients and
throws them away; optimizer state, which is exactly known, is added. What does not fit is found out here, before the first
step. Kernels that are compiled for a shape (bf16 in oneDNN) are kept and add up: the growth over a few shapes is measured,
that over the rest of an epoch's follows from it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from proxtune.batches import cut, epoch_batches, one_of_each_shape, padded, sorted_batches
from proxtune.budget import format_bytes
from proxtune.evaluate import logits_of
from proxtune.memory.govern import Governor, is_refusal
from proxtune.memory.meter import Meter, Phases
from proxtune.methods import METHODS
from proxtune.plan import Plan
from proxtune.tasks.classify import Encoded, take
from proxtune.train import gradient_of, reason, warm_up

_MOST_SHAPES = 5  # the kernels of others are taken to grow as those of these did
_TIMED_BATCHES = 3
_GROWTH = 1.02  # a heap that breaks up over many steps
_GROWTH_BYTES = 6_000_000
_OPTIMIZER_BYTES = {"adamw": 8, "adafactor": 0.2, "none": 0}


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was measured: bytes of the tree by phase, terms of `train`, seconds for each padded token of a training step.

    `refused` says why the plan does not fit after all; the other parts are then empty.
    """

    memory_bytes: dict[str, int] = field(default_factory=dict)
    terms: dict[str, int] = field(default_factory=dict)
    seconds_per_token: float = 0.0
    refused: str = ""


def rehearse(
    plan: Plan, model: Any, train: Encoded, held: Encoded, pad_id: int, seed: int, governor: Governor, phases: Phases
) -> Rehearsal:
    """Run the worst micro-batch of `plan` and smaller ones under the governor, and say what they took."""
    meter, others = phases.meter, phases.others_bytes
    phases.leave()
    standing = meter.now()
    state = round(_OPTIMIZER_BYTES[plan.optimizer] * plan.trainable)
    room = governor.room_bytes
    try:
        if METHODS[plan.method].uses_gradients:
            warm_up(model, train, plan, pad_id, phases)
        governor.hold()
        meter.reset()
        per_token, to_come = _run_through(plan, model, train, pad_id, seed, meter)
    except (RuntimeError, MemoryError) as error:
        if not is_refusal(error):
            raise
        return Rehearsal(refused=reason(error))
    peak = meter.peak()
    gradients = sum(p.grad.numel() * p.grad.element_size() for p in model.parameters() if p.grad is not None)
    model.zero_grad(set_to_none=True)
    meter.give_back()
    kernels = max(0, meter.now() - standing)
    to_come += meter.to_come()
    if room is not None and _grown(peak) + to_come + state > room:
        return Rehearsal(refused=f"it would take {format_bytes(_grown(peak) + to_come + state + others)}")
    meter.reset()
    limit = plan.micro_batch * plan.max_length
    for rows in one_of_each_shape(sorted_batches(held.lengths, limit), held.lengths)[:2]:
        logits_of(model, take(held, rows), pad_id, plan.dtype, limit, meter)
    judging = meter.peak()
    meter.give_back()
    predicted = {
        "prepare": standing + others,
        "train": _grown(peak) + to_come + state + others,
        "evaluate": _grown(judging) + to_come + state + others,
        "save": _grown(judging) + to_come + others,  # the optimizer is gone by then
    }
    terms = {
        "gradients": gradients,
        "optimizer": state,
        "kernels": kernels,
        "activations": max(0, peak - standing - kernels - gradients),
    }
    return Rehearsal(predicted, terms, per_token)


def _run_through(plan: Plan, model: Any, train: Encoded, pad_id: int, seed: int, meter: Meter) -> tuple[float, int]:
    """The worst micro-batch, some of each size, typical batches: seconds for each padded token of the last, and the bytes
    that kernels for the shapes not met here will take.

    Gradients stay, as at the moment of an update.
    """
    if not METHODS[plan.method].uses_gradients:
        return _pass_through(plan, model, train, pad_id, meter), 0
    gradient_of(model, train, _worst_rows(plan, train), plan, pad_id)
    order = epoch_batches(train.lengths, plan.batch, seed, 0)
    limit = plan.micro_batch * plan.max_length
    each = one_of_each_shape((piece for rows in order for piece in cut(rows, train.lengths, limit)), train.lengths)
    few, held = _spread(each), meter.now()
    for rows in few:
        gradient_of(model, train, rows, plan, pad_id)
    growth = max(0, meter.now() - held) // len(few)  # the largest came first: what is added since is kernels
    tokens, began = 0, time.perf_counter()
    for rows in order[:_TIMED_BATCHES]:
        model.zero_grad(set_to_none=True)
        gradient_of(model, train, rows, plan, pad_id)
        tokens += len(rows) * padded(int(train.lengths[rows].max()))  # as `survey.padded_tokens` counts
    return (time.perf_counter() - began) / max(1, tokens), growth * (len(each) - len(few))


def _pass_through(plan: Plan, model: Any, train: Encoded, pad_id: int, meter: Meter) -> float:
    """The same for a method that only looks: the longest micro-batch, then some three hundred rows; seconds for each token."""
    limit = plan.micro_batch * plan.max_length
    logits_of(model, take(train, _worst_rows(plan, train)), pad_id, plan.dtype, limit, meter)
    some = take(train, np.arange(0, len(train), max(1, len(train) // 300)))
    began = time.perf_counter()
    logits_of(model, some, pad_id, plan.dtype, limit, meter)
    tokens = int(sum(padded(int(length)) for length in some.lengths))
    return (time.perf_counter() - began) / max(1, tokens)


def _spread(pieces: list[np.ndarray]) -> list[np.ndarray]:
    """At most five of them, from the largest to the smallest."""
    chosen = np.unique(np.linspace(0, len(pieces) - 1, min(len(pieces), _MOST_SHAPES)).round().astype(int))
    return [pieces[i] for i in chosen]


def _grown(measured: int) -> int:
    return round(measured * _GROWTH) + _GROWTH_BYTES


def _worst_rows(plan: Plan, data: Encoded) -> np.ndarray:
    """Rows that make the largest micro-batch this data can: the longest row, as often as a bite takes it."""
    longest = int(np.argmax(data.lengths))
    return np.full(plan.micro_batch, longest)
