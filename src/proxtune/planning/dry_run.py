"""The dry run: a few real steps, the largest micro-batch among them, before the plan is final.

Tracing ranks; the dry run says what this machine will really hold and how long a step takes. It trains for a few steps
on a copy of the model that is thrown away, as the run itself will: a batch, then the one with the longest row, then other
shapes. What does not fit is found out here, before the first step that counts. Kernels that are compiled for a shape (bf16
in oneDNN) are kept and add up: the growth over a few shapes is measured, that over the rest of an epoch's follows from it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from proxtune.compression.size_constraint import NoSizeConstraint, SizeConstraint
from proxtune.config.budget import format_bytes
from proxtune.config.plan import Plan
from proxtune.data.batching import cut, epoch_batches, one_of_each_shape, padded, shape_of, sorted_batches
from proxtune.data.dataset import Encoded, select_rows
from proxtune.memory.governor import Governor, is_refusal
from proxtune.methods.linear_head import fitting_bytes
from proxtune.methods.registry import find_method
from proxtune.models.introspection import width_of, without_adapters
from proxtune.models.quantized_linear import dequantized_extra_bytes
from proxtune.models.weights.file_layout import layout_copies_bytes
from proxtune.optim.nno import NNO
from proxtune.planning.cost_model import fragmentation_bytes, with_growth
from proxtune.runtime.inference import outputs_of, touch_embeddings, warm_up_forward
from proxtune.runtime.model_setup import constraint_of
from proxtune.runtime.session import Session
from proxtune.tasks.base import ModelAtHand
from proxtune.training.bit_allocation import try_allocation
from proxtune.training.gradient_step import gradient_within_limit, warm_up
from proxtune.training.memory_retry import error_line, run_within_limit
from proxtune.training.neighbour_step import nno_step
from proxtune.training.optimizer import make_optimizer, update

_MOST_SHAPES, _FEW_SHAPES, _VALIDATION_SHAPES = 5, 3, 3  # the kernels of others are taken to grow as those of these did
_KEPT_SHAPES = 1  # beside those met here, of which kernels are kept where rows are long
_MOST_LENGTHS = 3  # of a step by neighbours, which takes as many passes as there are points
_TIMED_BATCHES = 2
_FALLEN_BACK = 10  # times slower than the fastest batch, and
_LONG_SECONDS = 2.0  # at that: oneDNN has no memory for its own kernels and computes without them


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What was measured: bytes of the tree by phase, terms of `train`, seconds for each padded token of a training step.

    `evaluate` is the evaluation of the result; one in training, beside the optimizer, takes `validation_bytes`. `trainable` is
    the count of parameters that learn. `refused` says why the plan does not fit after all; the other parts may then be empty.
    """

    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    terms: Mapping[str, int] = field(default_factory=dict)
    seconds_per_token: float = 0.0
    refused: str = ""
    validation_bytes: int = 0
    trainable: int | None = None  # None where it came to no count

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> DryRun:
        return cls(**raw)


def dry_run(plan: Plan, model: Any, session: Session, libraries_bytes: int) -> DryRun:
    """Run a few steps of `plan` and an evaluation under the governor, and say what they took. The model is spoiled.

    `libraries_bytes` is what the process held before it loaded the model.
    """
    governor, phases, meter = session.governor, session.phases, session.meter
    method, calibration, long_rows = find_method(plan.method), session.device.calibration, session.traits.long_rows
    data, others = session.data, phases.others_bytes
    train, validation, pad_id = data.train, data.validation, data.pad_id
    phases.leave()
    standing = meter.now()
    weights = 0 if plan.streamed else sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    dequantized_extra = dequantized_extra_bytes(model)
    layout_copies = layout_copies_bytes(without_adapters(model))
    limit = plan.micro_batch * plan.max_length
    constraint: SizeConstraint | NoSizeConstraint = NoSizeConstraint()
    fitting = 0
    try:
        if plan.head_rows:
            warm_up_forward(model, train, pad_id, plan.autocast, governor)
            governor.hold()
            meter.reset()
            _try_forward_passes(plan, model, train, pad_id, governor)
            width = width_of(without_adapters(model).config)
            features = fitting_bytes(min(plan.head_rows, len(train)) + len(validation), width, len(data.labels))
            fitting = with_growth(meter.peak(), calibration) + features
            governor.release()
        if method.uses_gradients:
            warm_up(model, train, plan, pad_id, phases)
            optimizer = make_optimizer(model, plan)
        else:
            warm_up_forward(model, train, pad_id, plan.autocast, governor)
            optimizer = None
        if not plan.streamed:
            touch_embeddings(model, train, validation)
        governor.hold()
        meter.reset()
        if plan.neighbours:
            per_token, to_come = _try_neighbour_steps(plan, model.eval(), train, pad_id, session.recipe.seed, governor)
        elif optimizer is None:
            per_token, to_come = _forward_seconds(plan, model, train, pad_id, governor), 0
        else:
            constraint = constraint_of(session, plan, model)
            if constraint.needs_training:
                constraint.allocate_roughly()
            per_token, to_come = _try_gradient_steps(
                plan, model, optimizer, train, pad_id, session.recipe.seed, governor, constraint
            )
        peak = meter.peak()
        meter.trim()
        meter.reset()
        if constraint.needs_training:
            try_allocation(plan, model, train, pad_id, constraint)
            meter.trim()
        for rows in _validation_shapes(validation, limit):
            with constraint.at_nearest():
                outputs_of(model, select_rows(validation, rows), pad_id, plan.autocast, limit, governor)
        validation_peak = meter.peak()
        learning = [p for p in model.parameters() if p.requires_grad]
        gradients = sum(p.numel() * p.element_size() for p in learning) if optimizer else 0
        # into what is thawed, beside it
        state, merged = _state_bytes(optimizer), 0 if dequantized_extra else method.merged_bytes(model)
        del optimizer
        meter.trim()
        at_rest = meter.now()
        ending = _try_final_evaluation(plan, model, session)
    except (RuntimeError, MemoryError) as error:
        if not is_refusal(error):
            raise
        return DryRun(refused=error_line(error))
    kernels = max(0, at_rest - libraries_bytes - weights)
    activations = max(0, peak - at_rest - gradients - state)
    if long_rows:  # in many shapes, whose activations are large beside all else
        slack = fragmentation_bytes(activations, plan, calibration)
        activations, peak = activations + slack, peak + slack
    memory = {
        "prepare": standing + others,
        "train": max(with_growth(peak, calibration) + to_come, fitting) + others,
        "evaluate": ending + to_come + others,
        "save": at_rest - merged + to_come + others,
    }
    memory["evaluate"] += dequantized_extra  # when what was learned is merged
    memory["save"] += dequantized_extra + (0 if constraint.needs_training else layout_copies)
    in_training = (validation_peak if long_rows else with_growth(validation_peak, calibration)) + to_come + others
    terms = {
        "growth": to_come,
        "gradients": gradients,
        "optimizer": state,
        "kernels": kernels,
        "activations": activations,
    }
    needs, room = max(in_training, *memory.values()), governor.memory_bytes
    refused = f"it would take {format_bytes(needs)}" if room is not None and needs > room else ""
    return DryRun(
        memory_bytes=memory, terms=terms, seconds_per_token=per_token, refused=refused, validation_bytes=in_training
    )


def _validation_shapes(validation: Encoded, limit: int) -> list[np.ndarray]:
    """Rows of a few of the shapes that are evaluated, the largest last."""
    return _spread(
        one_of_each_shape(sorted_batches(validation.lengths, limit), validation.lengths), _VALIDATION_SHAPES
    )[::-1]


def _try_final_evaluation(plan: Plan, model: Any, session: Session) -> int:
    """Evaluate as a run does in the end, when its optimizer is gone; returns the peak.

    In the type of the weights; adapters that are not merged yet need the plan's.
    """
    meter, data, governor, limit = session.meter, session.data, session.governor, plan.micro_batch * plan.max_length
    dtype = plan.autocast if find_method(plan.method).keeps_adapter else "fp32"
    long_rows = session.traits.long_rows
    shapes = _validation_shapes(data.validation, limit)
    if long_rows:  # each shape has passed already, in the plan's type
        shapes = shapes[-1:] if dtype != plan.autocast else []
    meter.reset()
    for rows in shapes:
        outputs_of(model, select_rows(data.validation, rows), data.pad_id, dtype, limit, governor)
    final = ModelAtHand(model=model, plan=plan, data=data, governor=governor, dtype=dtype)
    to_come = session.task.dry_run_results(final, limit)
    return (meter.peak() if long_rows else with_growth(meter.peak(), session.device.calibration)) + to_come


def _try_gradient_steps(
    plan: Plan,
    model: Any,
    optimizer: Any,
    train: Encoded,
    pad_id: int,
    seed: int,
    governor: Governor,
    constraint: SizeConstraint | NoSizeConstraint,
) -> tuple[float, int]:
    """The first two batches, some micro-batches of each size, typical batches: seconds for each padded token of the last,
    and the bytes that kernels for the shapes not met here will take.
    """
    meter, order = governor.meter, epoch_batches(train.lengths, plan.batch, seed, 0)

    def pieces_of(batches: list[np.ndarray]) -> list[np.ndarray]:
        limit = plan.micro_batch * plan.max_length
        return one_of_each_shape(
            (piece for rows in batches for piece in cut(rows, train.lengths, limit)), train.lengths
        )

    def shapes_of(pieces: list[np.ndarray]) -> set[tuple[int, int]]:
        return {shape_of(rows, train.lengths) for rows in pieces}

    token_seconds: list[float] = []  # seconds for each padded token, counted as `profile.padded_tokens` does

    def gradient_of(rows: np.ndarray) -> None:
        if train.objective.long_rows:  # as each step does
            meter.trim()
        tokens, began = len(rows) * padded(int(train.lengths[rows].max())), time.perf_counter()
        with constraint.at_nearest(train.tokens(rows)):
            gradient_within_limit(model, train, rows, plan, pad_id, governor)
        seconds = time.perf_counter() - began
        token_seconds.append(seconds / tokens)
        if seconds > _LONG_SECONDS and token_seconds[-1] > _FALLEN_BACK * min(token_seconds):
            raise MemoryError(
                f"near the limit its kernels are {token_seconds[-1] / min(token_seconds):.0f} times slower"
            )

    first, timed = order[:2], order[2 : 2 + _TIMED_BATCHES] or order
    if train.objective.long_rows:  # a batch of a decoder's rows takes ten seconds, and its largest piece all the memory
        first, timed = [pieces_of([rows])[0] for rows in first], timed[:1]
    largest, *others = _spread(pieces_of(order), _FEW_SHAPES if train.objective.long_rows else _MOST_SHAPES)
    for rows in first:  # the second has the longest row
        gradient_of(rows)
        update(model, optimizer)
    if shape_of(largest, train.lengths) not in shapes_of(pieces_of(first)):
        gradient_of(largest)

    def bytes_without_gradient() -> int:
        model.zero_grad(set_to_none=True)
        meter.trim()
        return meter.now()

    bytes_before = bytes_without_gradient()
    for rows in others:
        gradient_of(rows)
    # smaller micro-batches leave nothing behind but the kernels of their shapes
    new = shapes_of(others) - shapes_of(pieces_of(first))
    growth = max(0, bytes_without_gradient() - bytes_before) // max(1, len(new))
    tokens, began = 0, time.perf_counter()
    for rows in timed:
        gradient_of(rows)
        update(model, optimizer)
        tokens += len(rows) * padded(int(train.lengths[rows].max()))
    per_token = (time.perf_counter() - began) / max(1, tokens)
    met = shapes_of([largest, *others, *pieces_of(first), *pieces_of(timed)])
    unmet = (
        len(shapes_of(pieces_of(order)) - met) if plan.dtype == "bf16" else 0
    )  # fp32 compiles none: what grew is the heap
    if train.objective.long_rows:  # then only so many kernels are kept (`memory/kernel_cache.py`)
        unmet = min(unmet, _KEPT_SHAPES)
    return per_token, growth * unmet


def _try_neighbour_steps(
    plan: Plan, model: Any, train: Encoded, pad_id: int, seed: int, governor: Governor
) -> tuple[float, int]:
    """The same for steps by neighbours: a batch, the one with the longest row, other lengths, and two for the time.

    So few neighbours that two forward passes hold them, or four of one point each: a forward pass is what takes memory, and
    the time is in proportion.
    """
    meter, order = governor.meter, epoch_batches(train.lengths, plan.batch, seed, 0)
    at_a_time = max(1, plan.micro_batch // plan.batch)
    few = min(plan.neighbours, max(2, 2 * at_a_time - 2))
    search = NNO(model, neighbours=few, seed=seed)

    def step(rows: np.ndarray) -> None:
        run_within_limit(lambda: nno_step(search, plan, train, rows, pad_id), governor)

    def bytes_now() -> int:
        meter.trim()
        return meter.now()

    lengths = {padded(int(train.lengths[rows].max())): rows for rows in reversed(order)}
    others = _spread([lengths[length] for length in sorted(lengths, reverse=True)], _MOST_LENGTHS)[1:]
    for rows in order[:2]:
        step(rows)
    before = bytes_now()
    for rows in others:
        step(rows)
    growth = max(0, bytes_now() - before) // max(1, len(others))
    timed = order[2 : 2 + _TIMED_BATCHES] or order
    tokens, began = 0, time.perf_counter()
    for rows in timed:
        step(rows)
        tokens += len(rows) * padded(int(train.lengths[rows].max()))
    per_token = (time.perf_counter() - began) / max(1, tokens) * (plan.neighbours + 2) / (few + 2)
    unmet = max(0, len(lengths) - len(others) - 2) if plan.dtype == "bf16" else 0
    return per_token, growth * unmet


def _try_forward_passes(plan: Plan, model: Any, train: Encoded, pad_id: int, governor: Governor) -> None:
    """What a classification layer is fitted to comes of these: a micro-batch of each size from short to long."""
    limit = plan.micro_batch * plan.max_length
    for rows in reversed(one_of_each_shape(sorted_batches(train.lengths, limit), train.lengths)):
        outputs_of(model, select_rows(train, rows), pad_id, plan.autocast, limit, governor)


def _forward_seconds(plan: Plan, model: Any, train: Encoded, pad_id: int, governor: Governor) -> float:
    """Seconds for each padded token of a forward pass, by three hundred rows."""
    limit = plan.micro_batch * plan.max_length
    some = select_rows(train, np.arange(0, len(train), max(1, len(train) // 300)))
    began = time.perf_counter()
    outputs_of(model, some, pad_id, plan.autocast, limit, governor)
    tokens = int(sum(padded(int(length)) for length in some.lengths))
    return (time.perf_counter() - began) / max(1, tokens)


def _spread(pieces: list[np.ndarray], most: int) -> list[np.ndarray]:
    """At most so many of them, from the largest to the smallest."""
    chosen = np.unique(np.linspace(0, len(pieces) - 1, min(len(pieces), most)).round().astype(int))
    return [pieces[i] for i in chosen]


def _state_bytes(optimizer: Any) -> int:
    """Bytes of an optimizer's tensors."""
    if optimizer is None:
        return 0
    tensors = [
        tensor for state in optimizer.state.values() for tensor in state.values() if isinstance(tensor, torch.Tensor)
    ]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
