"""The rehearsal: a few real steps, the largest micro-batch among them, before the plan is final.

Tracing ranks; the rehearsal says what this machine will really hold and how long a step takes. It trains for a few steps
on a copy of the model that is thrown away, as the run itself will: a batch, then the one with the longest row, then other
shapes. What does not fit is found out here, before the first step that counts. Kernels that are compiled for a shape (bf16
in oneDNN) are kept and add up: the growth over a few shapes is measured, that over the rest of an epoch's follows from it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from proxtune.compression.size_constraint import SizeConstraint, NoSizeConstraint
from proxtune.config.budget import format_bytes
from proxtune.config.plan import Plan
from proxtune.data.batching import cut, epoch_batches, one_of_each_shape, padded, shape_of, sorted_batches
from proxtune.data.dataset import Encoded, select_rows
from proxtune.memory.governor import Governor, is_refusal
from proxtune.methods.lora import adapter_bytes
from proxtune.methods.registry import METHODS
from proxtune.models.quantized_linear import dequantized_extra_bytes
from proxtune.optim.nno import NNO
from proxtune.planning.cost_model import fragmentation_bytes, with_growth
from proxtune.runtime.inference import warm_up_forward, touch_embeddings, outputs_of
from proxtune.runtime.model_setup import generation_settings, constraint_of
from proxtune.runtime.session import Session
from proxtune.tasks.base import evenly_spaced_rows
from proxtune.tasks.generation.decoding import generate_answers, cache_bytes, prompt_lengths, tokens_at_a_time
from proxtune.tasks.generation.samples import VALIDATION_ANSWERS
from proxtune.training.bit_allocation import try_allocation
from proxtune.training.gradient_step import gradient_within_limit, warm_up
from proxtune.training.memory_retry import run_within_limit, error_line
from proxtune.training.neighbour_step import nno_step
from proxtune.training.optimizer import make_optimizer, update

_MOST_SHAPES, _FEW_SHAPES, _VALIDATION_SHAPES = 5, 3, 3  # the kernels of others are taken to grow as those of these did
_FEW_TOKENS = 4  # of an answer
_KEPT_SHAPES = 1  # beside those met here, of which a decoder's kernels are kept
_MOST_LENGTHS = 3  # of a step by neighbours, which takes as many passes as there are points
_TIMED_BATCHES = 2
_FALLEN_BACK = 10  # times slower than the fastest batch, and
_LONG_SECONDS = 2.0  # at that: oneDNN has no memory for its own kernels and computes without them


@dataclass(frozen=True, slots=True)
class DryRun:
    """What was measured: bytes of the tree by phase, terms of `train`, seconds for each padded token of a training step.

    `evaluate` is the judgement of the result; one in training, beside the optimizer, takes `validation_bytes`. `refused` says why
    the plan does not fit after all; the other parts may then be empty.
    """

    memory_bytes: dict[str, int] = field(default_factory=dict)
    terms: dict[str, int] = field(default_factory=dict)
    seconds_per_token: float = 0.0
    refused: str = ""
    validation_bytes: int = 0


def dry_run(plan: Plan, model: Any, session: Session, libraries_bytes: int) -> DryRun:
    """Run a few steps of `plan` and a judgement under the governor, and say what they took. The model is spoiled.

    `libraries_bytes` is what the process held before it loaded the model.
    """
    task, governor, phases, meter = session.task, session.governor, session.phases, session.meter
    train, validation, pad_id, others = task.train, task.validation, task.pad_id, phases.others_bytes
    phases.leave()
    standing = meter.now()
    weights, dequantized_extra = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers())), dequantized_extra_bytes(model)
    limit = plan.micro_batch * plan.max_length
    constraint: SizeConstraint | NoSizeConstraint = NoSizeConstraint()
    try:
        if METHODS[plan.method].uses_gradients:
            warm_up(model, train, plan, pad_id, phases)
            optimizer = make_optimizer(model, plan)
        else:
            warm_up_forward(model, train, pad_id, plan.autocast, governor)
            optimizer = None
        touch_embeddings(model, train, validation)
        governor.hold()
        meter.reset()
        if plan.neighbours:
            per_token, to_come = _try_neighbour_steps(plan, model.eval(), train, pad_id, session.recipe.seed, governor)
        elif optimizer is None:
            per_token, to_come = _try_forward_passes(plan, model, train, pad_id, governor), 0
        else:
            constraint = constraint_of(session, plan, model)
            if isinstance(constraint, SizeConstraint) and constraint.needs_training:
                constraint.allocate_roughly()
            per_token, to_come = _try_gradient_steps(
                plan, model, optimizer, train, pad_id, session.recipe.seed, governor, constraint
            )
        peak = meter.peak()
        meter.trim()
        meter.reset()
        if isinstance(constraint, SizeConstraint) and constraint.needs_training:
            try_allocation(plan, model, train, pad_id, constraint)
            meter.trim()
        for rows in _validation_shapes(validation, limit):
            with constraint.at_nearest():
                outputs_of(model, select_rows(validation, rows), pad_id, plan.autocast, limit, governor)
        validation_peak = meter.peak()
        learning = [p for p in model.parameters() if p.requires_grad]
        gradients = sum(p.numel() * p.element_size() for p in learning) if optimizer else 0
        # into what is thawed, beside it
        state, merged = _state_bytes(optimizer), 0 if dequantized_extra else adapter_bytes(model)
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
    if task.generates:  # in many shapes, whose activations are large beside all else
        slack = fragmentation_bytes(activations, plan)
        activations, peak = activations + slack, peak + slack
    memory = {
        "prepare": standing + others,
        "train": with_growth(peak) + to_come + others,
        "evaluate": ending + to_come + others,
        "save": at_rest - merged + to_come + others,
    }
    memory["evaluate"] += dequantized_extra  # when what was learned is merged
    memory["save"] += dequantized_extra
    in_training = (validation_peak if task.generates else with_growth(validation_peak)) + to_come + others
    terms = {
        "growth": to_come,
        "gradients": gradients,
        "optimizer": state,
        "kernels": kernels,
        "activations": activations,
    }
    needs, room = max(in_training, *memory.values()), governor.memory_bytes
    refused = f"it would take {format_bytes(needs)}" if room is not None and needs > room else ""
    return DryRun(memory, terms, per_token, refused, in_training)


def _validation_shapes(validation: Encoded, limit: int) -> list[np.ndarray]:
    """Rows of a few of the shapes that are judged, the largest first."""
    return _spread(one_of_each_shape(sorted_batches(validation.lengths, limit), validation.lengths), _VALIDATION_SHAPES)[::-1]


def _try_final_evaluation(plan: Plan, model: Any, session: Session) -> int:
    """Judge as a run does in the end, when its optimizer is gone; returns the peak, answers as long as they may be.

    In the type of the weights; adapters that are not merged yet need the plan's.
    """
    meter, task, limit = session.meter, session.task, plan.micro_batch * plan.max_length
    dtype = plan.autocast if plan.method == "lora" else "fp32"
    meter.reset()
    if not task.generates:
        for rows in _validation_shapes(task.validation, limit):
            outputs_of(model, select_rows(task.validation, rows), task.pad_id, dtype, limit, session.governor)
        return with_growth(meter.peak())
    if dtype != plan.autocast:
        rows = one_of_each_shape(sorted_batches(task.validation.lengths, limit), task.validation.lengths)[0]
        outputs_of(model, select_rows(task.validation, rows), task.pad_id, dtype, limit, session.governor)
    cache_to_come = _try_generation(plan, model, session, tokens_at_a_time(plan), dtype)
    return meter.peak() + cache_to_come


def _try_generation(plan: Plan, model: Any, session: Session, limit: int, dtype: str) -> int:
    """Begin the answers of the largest batch; returns the bytes that the cache takes when they are as long as they may be."""
    task, settings = session.task, generation_settings(session.task)
    rows = evenly_spaced_rows(len(task.validation), VALIDATION_ANSWERS)
    prompts = prompt_lengths(task.validation)[rows]
    pieces = list(sorted_batches(prompts + settings.new_tokens, limit))
    largest = max(pieces, key=lambda piece: len(piece) * (int(prompts[piece].max()) + settings.new_tokens))
    few = replace(settings, new_tokens=min(settings.new_tokens, _FEW_TOKENS))
    list(generate_answers(model, select_rows(task.validation, rows[largest]), few, dtype, 1 << 40, session.governor))
    return (
        len(largest)
        * (settings.new_tokens - few.new_tokens)
        * cache_bytes(task.config, plan.dtype if plan.method == "lora" else dtype)
    )


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
        if train.have_answers:  # as each step does
            meter.trim()
        tokens, began = len(rows) * padded(int(train.lengths[rows].max())), time.perf_counter()
        with constraint.at_nearest(train.tokens(rows)):
            gradient_within_limit(model, train, rows, plan, pad_id, governor)
        seconds = time.perf_counter() - began
        token_seconds.append(seconds / tokens)
        if seconds > _LONG_SECONDS and token_seconds[-1] > _FALLEN_BACK * min(token_seconds):
            raise MemoryError(f"near the limit its kernels are {token_seconds[-1] / min(token_seconds):.0f} times slower")

    first, timed = order[:2], order[2 : 2 + _TIMED_BATCHES] or order
    if train.have_answers:  # a batch of a decoder's rows takes ten seconds, and its largest piece all the memory
        first, timed = [pieces_of([rows])[0] for rows in first], timed[:1]
    largest, *others = _spread(pieces_of(order), _FEW_SHAPES if train.have_answers else _MOST_SHAPES)
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
    if train.have_answers:  # then only so many kernels are kept (`memory/kernel_cache.py`)
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


def _try_forward_passes(plan: Plan, model: Any, train: Encoded, pad_id: int, governor: Governor) -> float:
    """The same for a method that only looks: a micro-batch of each size from short to long, then three hundred rows."""
    limit = plan.micro_batch * plan.max_length
    for rows in reversed(one_of_each_shape(sorted_batches(train.lengths, limit), train.lengths)):
        outputs_of(model, select_rows(train, rows), pad_id, plan.autocast, limit, governor)
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
