"""Steps by gradients: back-propagation micro-batch by micro-batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from proxtune.config.plan import Plan
from proxtune.data.batching import cut
from proxtune.data.dataset import Encoded
from proxtune.memory.allocator import TIGHT, set_allocator
from proxtune.memory.devices.registry import device_of
from proxtune.memory.governor import Governor, is_refusal
from proxtune.memory.phases import Phases
from proxtune.models.introspection import enable_checkpointing
from proxtune.storage.events import StepDown
from proxtune.training.context import StepMaker, StepResult, Training
from proxtune.training.left_out_rows import with_rows_that_fit
from proxtune.training.memory_retry import NothingSmaller, faulty_rows, run_within_limit, with_memory_retry
from proxtune.training.optimizer import make_optimizer, room_for_state, state_of, update
from proxtune.training.short_attention import attending_to_short_rows


def gradient_step_maker(plan: Plan, training: Training) -> StepMaker:
    """Kernels in memory, the limit set, the optimizer made: what makes the steps of a gradient method."""
    model, data, pad_id, constraint = training.model, training.train, training.pad_id, training.constraint
    warm_up(model, data, plan, pad_id, training.phases)
    training.governor.hold()
    optimizer = make_optimizer(model, plan)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    one_by_one = False  # rows, and free memory is given back before each: the last way, and the only one from then on

    def make_step(plan: Plan, rows: np.ndarray, number: int, share: float) -> StepResult:
        for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * share
        model.train()
        if (
            data.objective.long_rows and training.governor.meter.fragments
        ):  # in many lengths, each of which fills other holes
            training.governor.meter.trim()
            training.governor.hold()

        def gradient(plan: Plan, rows: np.ndarray) -> float:
            with constraint.at_nearest(data.tokens(rows)):  # which takes memory too
                return gradient_within_limit(
                    model, data, rows, plan, pad_id, training.governor, constraint.teacher, one_by_one
                )

        def attempt(plan: Plan, rows: np.ndarray) -> None:
            nonlocal one_by_one
            one_by_one = True
            gradient(plan, rows)
            model.zero_grad(set_to_none=True)

        try:
            plan, loss, changes, left_out = with_rows_that_fit(
                plan, training, number, rows, gradient, attempt, lambda plan: step_down(plan, training)
            )
            if loss is None:
                return StepResult(plan=plan, loss=math.nan, learning_rate=0.0, step_downs=changes, left_out=left_out)
            is_good = math.isfinite(loss)
            if is_good:
                plan, is_good, more = _move(plan, training, number, optimizer)
                changes += more
        except (RuntimeError, MemoryError):
            model.zero_grad(set_to_none=True)
            raise
        if not is_good:
            model.zero_grad(set_to_none=True)

        def finite(rows: np.ndarray) -> bool:
            return training.governor.thread.run(partial(_is_finite, model, data, rows, plan, pad_id))

        faulty = None if is_good else faulty_rows(np.setdiff1d(rows, left_out), finite)
        return StepResult(
            plan=plan, loss=loss, learning_rate=optimizer.param_groups[0]["lr"], step_downs=changes, rejected=faulty,
            left_out=left_out,
        )  # fmt: skip

    return StepMaker(
        make_step, lambda: state_of(model, optimizer), lambda entries: room_for_state(model, optimizer, entries)
    )


def _move(plan: Plan, training: Training, number: int, optimizer: Any) -> tuple[Plan, bool, list[StepDown]]:
    """`update`, in less room where need be, and then again as long as that moves more of the weights.

    Raises what a refused allocation raises.
    """
    model, governor = training.model, training.governor
    moving = partial(run_within_limit, partial(update, model, optimizer), governor)
    try:
        return with_memory_retry(
            plan, training, number, lambda plan: moving(), lambda plan: in_less_room(plan, training)
        )
    except NothingSmaller as end:  # free memory was given back after what was refused
        plan, changes = end.plan, end.step_downs
    while True:
        waiting = _with_gradient(model)
        try:
            return plan, moving(), changes
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error) or _with_gradient(model) == waiting:
                raise


def _with_gradient(model: Any) -> int:
    return sum(p.grad is not None for p in model.parameters())


def _is_finite(model: Any, data: Encoded, rows: np.ndarray, plan: Plan, pad_id: int) -> bool:
    """Whether the loss of these rows and its gradient are finite; also where memory refuses to say. Leaves no gradient."""
    try:
        loss = gradient_of(model, data, rows, plan, pad_id)
        squares = (p.grad.square().sum().item() for p in model.parameters() if p.grad is not None)
        return math.isfinite(loss) and math.isfinite(sum(squares))
    except (RuntimeError, MemoryError) as error:
        if not is_refusal(error):
            raise
        return True
    finally:
        model.zero_grad(set_to_none=True)


def gradient_of(
    model: Any,
    data: Encoded,
    rows: np.ndarray,
    plan: Plan,
    pad_id: int,
    teacher: np.ndarray | None = None,
    before_each: Callable[[], object] = lambda: None,
) -> float:
    """Add the gradient of the mean loss over `rows` to the parameters, micro-batch by micro-batch; returns the loss.

    The sum over micro-batches divided by what the whole batch has: the same number however the batch is cut. A `teacher` is what
    a model said of all rows, (rows, numbers). `before_each` micro-batch something may be done.
    """
    device, objective, total = next(model.parameters()).device, data.objective, 0.0
    for piece in cut(rows, data.lengths, plan.micro_batch * plan.max_length):
        before_each()
        with attending_to_short_rows(model, plan.dtype):
            with torch.autocast(device.type, torch.bfloat16, enabled=plan.dtype == "bf16"):
                loss = objective.loss(model, data, piece, pad_id, rows, teacher)
            loss.backward()
        total += loss.item()
    return total


def gradient_within_limit(
    model: Any,
    data: Encoded,
    rows: np.ndarray,
    plan: Plan,
    pad_id: int,
    governor: Governor,
    teacher: np.ndarray | None = None,
    one_by_one: bool = False,
) -> float:
    """`gradient_of`, governed. The parameters have no gradient where it raises what a refused allocation raises.

    Rows may go `one_by_one`, free memory given back before each: then a batch takes no more than its largest row.
    """

    def give_back() -> None:
        governor.meter.trim()
        governor.renew()

    plan = replace(plan, micro_batch=1, max_length=1) if one_by_one else plan  # tokens at a time, but a row at least
    before_each = give_back if one_by_one else governor.renew
    return run_within_limit(
        partial(gradient_of, model, data, rows, plan, pad_id, teacher, before_each),
        governor,
        lambda: model.zero_grad(set_to_none=True),
    )


def warm_up(model: Any, data: Encoded, plan: Plan, pad_id: int, phases: Phases) -> None:
    """Compute the shortest row's gradient and throw it away, so that the kernels' code (90 MB of it) is in memory."""
    model.train()
    gradient_of(model, data, np.asarray([int(np.argmin(data.lengths))]), plan, pad_id)
    model.zero_grad(set_to_none=True)
    phases.meter.trim()


def step_down(plan: Plan, training: Training) -> Plan | None:
    """The next smaller step: half the micro-batch, then checkpointing, then `in_less_room`; None when all are spent."""
    if plan.micro_batch > 1:
        return plan.with_micro_batch(plan.micro_batch // 2)
    if not plan.checkpointing and enable_checkpointing(training.model):
        return replace(plan, checkpointing=True)
    return in_less_room(plan, training)


def in_less_room(plan: Plan, training: Training) -> Plan | None:
    """The plan with its frozen weights streamed, which costs least, or with a heap without holes; None when both are spent."""
    if not plan.streamed and training.stream_weights():
        return replace(plan, streamed=True)
    can_tighten = TIGHT in device_of(training.model).allocators and plan.allocator != TIGHT
    return replace(plan, allocator=TIGHT) if can_tighten and set_allocator(TIGHT) else None
