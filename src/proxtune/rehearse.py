"""The rehearsal: the worst batch and a few typical ones, run for real before the plan is final, changing nothing.

Tracing ranks; the rehearsal says what this machine will really hold and how long a step takes. It computes gradients and
throws them away; optimizer state, which is exactly known, is added. What does not fit is cut here, before the first step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxtune.batches import epoch_batches, padded
from proxtune.clock import Clock
from proxtune.evaluate import logits_of
from proxtune.memory.govern import Governor, is_refusal
from proxtune.memory.meter import Meter, Phases
from proxtune.plan import Plan
from proxtune.tasks.classify import Encoded, take
from proxtune.train import Record, bite, gradient_of, step_down, warm_up

_GROWTH = 1.02  # shapes that the rehearsal did not see
_GROWTH_BYTES = 6_000_000
_OPTIMIZER_BYTES = {"adamw": 8, "adafactor": 0.2, "none": 0}


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was measured: bytes of the tree by phase, terms of `train`, seconds for each padded token of a training step."""

    plan: Plan
    memory_bytes: dict[str, int]
    terms: dict[str, int]
    seconds_per_token: float
    step_downs: list[Record]


def rehearse(plan: Plan, model: Any, train: Encoded, held: Encoded, pad_id: int, seed: int, governor: Governor, phases: Phases, clock: Clock) -> Rehearsal:
    """Run the worst and three typical batches of `plan` under the governor, stepping down until they fit.

    Raises MemoryError when not even one row does.
    """
    meter, others = phases.meter, phases.others_bytes
    phases.leave()
    standing = meter.now()
    changes: list[Record] = []
    state = round(_OPTIMIZER_BYTES[plan.optimizer] * plan.trainable)
    room = governor.room_bytes
    model.train()
    while True:
        meter.reset()
        why, per_token = "", 0.0
        try:
            per_token = _run_through(plan, model, train, pad_id, seed, meter)
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error):
                raise
            why = str(error).strip().splitlines()[0][:120] or type(error).__name__
        peak = meter.peak()
        if not why and room is not None and _grown(peak) + state > room:
            why = "the worst batch and the optimizer's state together pass the budget"
        if not why:
            break
        model.zero_grad(set_to_none=True)
        meter.give_back()
        smaller = step_down(plan, model)
        if smaller is None:
            raise MemoryError("a step of one row does not fit in the memory budget")
        changes.append(governor.record(bite(plan), bite(smaller), why, 0, clock.elapsed))
        plan = smaller
    gradients = sum(p.grad.numel() * p.grad.element_size() for p in model.parameters() if p.grad is not None)
    model.zero_grad(set_to_none=True)
    meter.give_back()
    kernels = max(0, meter.now() - standing)
    meter.reset()
    few = np.argsort(held.lengths)[-max(1, min(len(held), plan.micro_batch)) :]
    logits_of(model, take(held, few), pad_id, plan.dtype, plan.micro_batch * plan.max_length, meter)
    judging = meter.peak()
    meter.give_back()
    predicted = {
        "train": _grown(peak) + state + others,
        "evaluate": _grown(judging) + state + others,
        "save": _grown(standing + kernels) + state + others,
    }
    terms = {"gradients": gradients, "optimizer": state, "kernels": kernels, "activations": max(0, peak - standing - kernels - gradients)}
    return Rehearsal(plan, predicted, terms, per_token, changes)


def _run_through(plan: Plan, model: Any, train: Encoded, pad_id: int, seed: int, meter: Meter) -> float:
    """The worst micro-batch, then typical batches; returns the seconds for each padded token of the typical ones.

    Gradients of the last batch stay, as at the moment of an update.
    """
    warm_up(model, train, plan, pad_id, meter)
    meter.reset()
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


def _grown(measured: int) -> int:
    return round(measured * _GROWTH) + _GROWTH_BYTES


def _worst_rows(plan: Plan, data: Encoded) -> np.ndarray:
    """Rows that make the largest micro-batch this data can: the longest row, as often as a bite takes it."""
    longest = int(np.argmax(data.lengths))
    return np.full(plan.micro_batch, longest)

