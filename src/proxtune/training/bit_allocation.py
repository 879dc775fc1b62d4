"""The work of allocating bits, in micro-batches that fit: what each weight is worth, and which set it is held in for that.

Both take memory of their own, beside an optimizer that stays. So they step down like training does: fewer rows at a time where
gradients are squared, fewer numbers where scales are fitted; and a dry run tries them out.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proxtune.compression.fisher import diagonal_fisher
from proxtune.compression.size_constraint import NoSizeConstraint, SizeConstraint
from proxtune.compression.weight_format import FITTED_AT_ONCE
from proxtune.config.plan import Plan
from proxtune.data.batching import model_inputs
from proxtune.data.dataset import Encoded
from proxtune.feasible.allocation import Allocation
from proxtune.memory.governor import is_refusal
from proxtune.storage.events import StepDown
from proxtune.training.context import Training
from proxtune.training.memory_retry import error_line, run_within_limit

_ROWS, _BATCHES = 16, 16  # that the worth of weights is taken from
_FEWEST_FITTED = 1 << 14  # numbers at a time: tens of kilobytes


def allocate_bits(plan: Plan, training: Training, step: int) -> tuple[Allocation, list[StepDown]]:
    """Allocate the bytes by what weights are worth; the allocation, and the step-downs on the way to it.

    What was learned is worth more than the bytes that this takes: where the smallest micro-batch is refused, weights count alike,
    and scales are fitted without the limit.
    """
    constraint, governor = training.constraint, training.governor
    importance, changes = _importance_with_retry(plan, training, step)
    at_once = FITTED_AT_ONCE
    while True:
        try:
            return run_within_limit(partial(constraint.allocate, importance, at_once), governor), changes
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error):
                raise
            why = error_line(error)
        governor.meter.trim()
        if at_once <= _FEWEST_FITTED:
            governor.release()
            allocation = constraint.allocate(importance, at_once)
            governor.hold()
            return allocation, changes
        less = at_once // 8
        before, after = (f"scales fitted {number:,} numbers at a time" for number in (at_once, less))
        changes.append(governor.record(before, after, why, step, training.clock.elapsed))
        at_once = less


def _importance_with_retry(
    plan: Plan, training: Training, step: int
) -> tuple[dict[str, Tensor] | None, list[StepDown]]:
    """`importance_of` from as many rows at a time as fit; None where one is too much."""
    governor, rows = training.governor, rows_at_a_time(plan, training.train)
    changes: list[StepDown] = []
    while True:
        try:
            find = partial(importance_of, plan, training.model, training.train, training.pad_id, training.seed, rows)
            return run_within_limit(find, governor), changes
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error):
                raise
            why = error_line(error)
        governor.meter.trim()
        after = f"{rows // 2} at a time" if rows > 1 else "all counting alike"
        before = f"weights' worth from {rows} rows at a time"
        changes.append(governor.record(before, after, why, step, training.clock.elapsed))
        if rows == 1:
            return None, changes
        rows //= 2


def rows_at_a_time(plan: Plan, data: Encoded) -> int:
    """Rows whose gradients are squared together, where memory does not refuse it."""
    return min(_ROWS, plan.micro_batch, len(data))


def importance_of(
    plan: Plan, model: Any, data: Encoded, pad_id: int, seed: int, rows: int, batches: int = _BATCHES
) -> dict[str, Tensor]:
    """For each row of a weight, (rows,), the mean square of a few batches' derivatives by its numbers."""
    random = np.random.default_rng(seed)
    row_batches = (random.choice(len(data), rows, replace=False) for _ in range(batches))
    return _mean_squares(plan, model, data, pad_id, row_batches)


def try_allocation(
    plan: Plan, model: Any, data: Encoded, pad_id: int, constraint: SizeConstraint | NoSizeConstraint
) -> None:
    """The largest micro-batches of `allocate_bits`, for a dry run: the longest rows, and the largest weight's scales."""
    longest = np.argsort(data.lengths, kind="stable")[-rows_at_a_time(plan, data) :]
    _mean_squares(plan, model, data, pad_id, iter([longest]))
    constraint.try_fitting()


def _mean_squares(plan: Plan, model: Any, data: Encoded, pad_id: int, row_batches: Any) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    model.train()  # dropout is off; activations are recomputed where the plan says so

    def loss_of(rows: np.ndarray) -> Tensor:
        inputs = {name: part.to(device) for name, part in model_inputs(data, rows, pad_id).items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.dtype == "bf16"):
            logits = model(**inputs).logits
        return torch.nn.functional.cross_entropy(logits.float(), torch.from_numpy(data.labels[rows]).to(device))

    found = diagonal_fisher(dict(model.named_parameters()), loss_of, row_batches, by_row=True)
    return {name: square.flatten() for name, square in found.items()}
