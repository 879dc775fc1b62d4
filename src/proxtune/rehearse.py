"""The rehearsal: the worst batch and a few typical ones, run for real before the plan is final, changing nothing.

Tracing ranks; the rehearsal says what this machine will really hold and how long a step takes. It computes gradients and
throws them away; optimizer state, which is exactly known, is added. What does not fit is found out here, before the first step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from proxtune.batches import epoch_batches, padded
from proxtune.budget import format_bytes
from proxtune.evaluate import logits_of
from proxtune.memory import measure
from proxtune.memory.govern import Governor, is_refusal
from proxtune.memory.meter import Meter, Phases
from proxtune.methods import METHODS
from proxtune.plan import Plan
from proxtune.planner import KERNEL_BYTES
from proxtune.tasks.classify import Encoded, take
from proxtune.train import gradient_of, reason, warm_up

_GROWTH = 1.02  # shapes that the rehearsal did not see
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
    """Run the worst and six typical batches of `plan` under the governor and say what they took."""
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
        per_token = _run_through(plan, model, train, pad_id, seed, meter)
    except (RuntimeError, MemoryError) as error:
        if not is_refusal(error):
            raise
        return Rehearsal(refused=reason(error))
    peak = meter.peak()
    gradients = sum(p.grad.numel() * p.grad.element_size() for p in model.parameters() if p.grad is not None)
    model.zero_grad(set_to_none=True)
    meter.give_back()
    kernels = max(0, meter.now() - standing)
    # bf16 kernels are compiled one for each shape, and a few batches meet few shapes
    to_come = max(0, KERNEL_BYTES[plan.dtype] - kernels) if plan.dtype == "bf16" and gradients else 0
    to_come += measure.unread_weights_bytes()
    if room is not None and _grown(peak) + to_come + state > room:
        return Rehearsal(refused=f"it would take {format_bytes(_grown(peak) + to_come + state + others)}")
    meter.reset()
    few = np.argsort(held.lengths)[-max(1, min(len(held), plan.micro_batch)) :]
    logits_of(model, take(held, few), pad_id, plan.dtype, plan.micro_batch * plan.max_length, meter)
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


def _run_through(plan: Plan, model: Any, train: Encoded, pad_id: int, seed: int, meter: Meter) -> float:
    """The worst micro-batch, then typical batches; returns the seconds for each padded token of the typical ones.

    Gradients of the last batch stay, as at the moment of an update.
    """
    if not METHODS[plan.method].uses_gradients:
        return _pass_through(plan, model, train, pad_id, meter)
    gradient_of(model, train, _worst_rows(plan, train), plan, pad_id)
    order = epoch_batches(train.lengths, plan.batch, seed, 0)[:6]
    tokens, began = 0, time.perf_counter()
    for number, rows in enumerate(order):
        model.zero_grad(set_to_none=True)
        if number == 1:  # the first warmed up the kernels of typical shapes
            tokens, began = 0, time.perf_counter()
        gradient_of(model, train, rows, plan, pad_id)
        tokens += int(sum(padded(int(length)) for length in train.lengths[rows]))
    return (time.perf_counter() - began) / max(1, tokens)


def _pass_through(plan: Plan, model: Any, train: Encoded, pad_id: int, meter: Meter) -> float:
    """The same for a method that only looks: the longest micro-batch, then some three hundred rows; seconds for each token."""
    limit = plan.micro_batch * plan.max_length
    logits_of(model, take(train, _worst_rows(plan, train)), pad_id, plan.dtype, limit, meter)
    some = take(train, np.arange(0, len(train), max(1, len(train) // 300)))
    began = time.perf_counter()
    logits_of(model, some, pad_id, plan.dtype, limit, meter)
    tokens = int(sum(padded(int(length)) for length in some.lengths))
    return (time.perf_counter() - began) / max(1, tokens)


def _grown(measured: int) -> int:
    return round(measured * _GROWTH) + _GROWTH_BYTES


def _worst_rows(plan: Plan, data: Encoded) -> np.ndarray:
    """Rows that make the largest micro-batch this data can: the longest row, as often as a bite takes it."""
    longest = int(np.argmax(data.lengths))
    return np.full(plan.micro_batch, longest)
