"""The profile: find out what the planner needs to know of this machine, this model and these data."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from proxtune.compression.weight_format import HALF_BITS
from proxtune.config.plan import Plan
from proxtune.config.recipe import DEFAULT_BATCH, Knobs
from proxtune.data.batching import cut, epoch_batches, padded
from proxtune.data.dataset import Encoded, rows_like, select_rows
from proxtune.errors import UserError
from proxtune.memory.allocator import set_allocator
from proxtune.memory.governor import Governor, is_refusal
from proxtune.memory.library_pages import unload_cold_code
from proxtune.memory.mapped_files import let_go_of_all
from proxtune.methods.base import FORWARD, HELD_FORWARD, Method
from proxtune.methods.registry import AUTO, find_method, methods_for
from proxtune.models.converted import weights_in
from proxtune.models.introspection import blocks_of, can_checkpoint, model_facts, width_of, without_adapters
from proxtune.models.source import count_parameters, weight_bytes, weight_files
from proxtune.planning.cost_model import converted_bytes, reports_seconds
from proxtune.planning.profile import (
    ModelProfile,
    Profile,
    Trace,
    Traces,
    trace_key,
    traces_as_dict,
    traces_from_dict,
)
from proxtune.planning.tracer import Traced, trace_model
from proxtune.runtime.inference import outputs_of, touch_embeddings, warm_up_forward
from proxtune.runtime.session import Session, in_child_process
from proxtune.runtime.streaming import stream_weights
from proxtune.runtime.trial import load_that_computes, try_model, with_trial, without_held_bf16

_THROUGHPUT_ROWS, _THROUGHPUT_FLOPS = 32, 3e11  # of one pass, at most: seconds, where a model is large
_THROUGHPUT_TRIES, _THROUGHPUT_SECONDS = 3, 1.0  # at most, for each dtype
_CHECKPOINTED_BLOCKS = (
    1.5  # whose insides are alive at a time where activations are recomputed: one, and what is made of it
)


def padded_tokens(lengths: np.ndarray, batch: int, seed: int) -> int:
    """Tokens of one epoch as batched, padding included; micro-batches are cut at four typical batches."""
    if len(lengths) == 0:
        return 0
    limit = 4 * batch * padded(int(np.median(lengths)))
    total = 0
    for rows in epoch_batches(lengths, batch, seed, 0):
        for piece in cut(rows, lengths, limit):
            total += len(piece) * padded(int(lengths[piece].max()))
    return total


def may_use_bf16_weights(session: Session) -> bool:
    """Whether a plan may come of weights that are held in bf16, where that pays."""
    methods = methods_for(session.recipe.method)
    held = any(method.may_hold_bf16(session.traits) for method in methods)
    return held and session.recipe.knobs.dtype != "fp32" and session.device.supports_bf16


def profile_model(
    session: Session, gradients: bool, weight_dtype: str = "fp32", streamed: bool = False
) -> ModelProfile:
    """Trace every structure (family, dtype, checkpointing) that a candidate may have, and measure the machine's throughput.

    Without `gradients` only the forward pass is traced, of weights that are held in `weight_dtype`: enough to name the least
    plan when nothing else can fit, and for steps by neighbours. Each part is found out apart from the others, so that no more
    than one of them is in memory at a time, and of weights that are `streamed` no more than a block.
    """
    methods, dtype = methods_for(session.recipe.method), session.recipe.knobs.dtype
    dtypes = ["bf16"] if weight_dtype == "bf16" else [dtype] if dtype else _dtypes(session)
    measure_throughput = gradients or weight_dtype == "bf16"
    forward = partial(_profile_forward, session, dtypes, weight_dtype, measure_throughput, streamed)
    found = ModelProfile.from_dict(in_child_process(session, lambda: forward().as_dict()))
    session, dtypes = with_trial(session), list(found.flops_per_second)
    traces = dict(found.traces)
    if measure_throughput and any(method.may_hold_bf16(session.traits) for method in methods):
        traces |= _held_traces(session, traces, dtypes, weight_dtype)
        session = with_trial(session)
    able = [method for method in methods if method.applies(found.facts) and method.can_learn(session.traits)]
    if not able:
        raise UserError(f"method {session.recipe.method} cannot learn with this model; choose --method layers or full")
    learning = [method for method in able if method.uses_gradients] if gradients else []
    if weight_dtype == "bf16" or streamed:  # masters in fp32 do not fit
        learning = [method for method in learning if method.supports_codes]
    for family in dict.fromkeys(method.cost.trace_family for method in learning):
        traces |= traces_from_dict(in_child_process(session, partial(_trace_family, session, family, dtypes, streamed)))
    return replace(found, traces=traces)


def _held_traces(session: Session, traces: Traces, dtypes: Sequence[str], weight_dtype: str) -> dict[str, Trace]:
    """Traces of a forward pass with the weights held in its dtype; nothing where such a plan cannot be what fits best."""
    recipe = session.recipe
    if recipe.method == AUTO and recipe.budget.memory is None and not session.traits.frozen_codes:
        return {}
    found = {trace_key(HELD_FORWARD, dtype): traces[trace_key(FORWARD, dtype)] for dtype in dtypes}
    if weight_dtype == "fp32" and "bf16" in dtypes:
        held = traces_from_dict(in_child_process(session, partial(_trace_bf16_forward, session)))
        found = {**found, **held} if held else {key: trace for key, trace in found.items() if not key.endswith("bf16")}
    return found


def _dtypes(session: Session) -> list[str]:
    """Those that may be best: bf16 where it pays, which takes more memory for its kernels; so fp32 too where memory is short."""
    if not session.device.supports_bf16:
        return ["fp32"]
    return ["bf16"] if session.recipe.budget.memory is None or session.traits.frozen_codes else ["bf16", "fp32"]


def _trace_bf16_forward(session: Session) -> dict[str, Any]:
    """Trace of a forward pass with the weights held in bf16, as plain values; none where the model does not compute so."""
    try:
        model = _load_model(session, "bf16").requires_grad_(False).to(session.device.torch_device)
        return traces_as_dict(_traces(model, HELD_FORWARD, ["bf16"], session, train=False, weight_dtype="bf16"))
    except (RuntimeError, TypeError, ValueError) as error:
        if is_refusal(error):
            raise
        without_held_bf16(session)
        return {}


def _profile_forward(
    session: Session, dtypes: Sequence[str], weight_dtype: str, measure_throughput: bool, streamed: bool
) -> ModelProfile:
    """Facts of the model, traces of its forward pass, and the rates of that."""
    data = session.data
    model = load_that_computes(
        lambda: _load_model(session, weight_dtype, streamed).requires_grad_(False).to(session.device.torch_device),
        lambda model: warm_up_forward(model, data.train, data.pad_id, "fp32", session.governor),
        data.config,
    )
    if streamed:
        let_go_of_all(weight_files(weights_in(session.source.folder, weight_dtype)))
    else:
        touch_embeddings(model, data.train, data.validation)
    passed_bytes = session.meter.now()
    dtypes = try_model(model, session, dtypes, weight_dtype, measure_throughput and weight_dtype == "fp32").dtypes
    traces = _traces(model, FORWARD, dtypes, session, train=False, weight_dtype=weight_dtype)
    forward_flops = traces[trace_key(FORWARD, dtypes[0])].forward_flops
    session.meter.trim()
    rates = dict.fromkeys(dtypes, session.device.calibration.nominal_flops_per_second)
    if measure_throughput:
        casts = {dtype: "fp32" if weight_dtype == dtype else dtype for dtype in dtypes}
        rows = _THROUGHPUT_ROWS
        if session.traits.micro_batch_tokens is not None:  # more at a time are no faster
            rows = max(1, min(rows, session.traits.micro_batch_tokens // padded(int(np.median(data.train.lengths)))))
        if session.governor.room_bytes is not None:
            spare = session.governor.room_bytes - session.meter.now()
            each = max(trace.row_bytes for trace in traces.values())
            rows = max(1, min(rows, int(spare / (2 * each))))
        rows = max(1, min(rows, int(_THROUGHPUT_FLOPS / (forward_flops * float(np.median(data.train.lengths))))))
        rates = throughput(model, data.train, casts, forward_flops, data.pad_id, session.governor, rows)
    return ModelProfile(facts=model_facts(model), passed_bytes=passed_bytes, traces=traces, flops_per_second=rates)


def _trace_family(session: Session, family: str, dtypes: Sequence[str], streamed: bool) -> dict[str, Any]:
    """Traces of a training step, with checkpointing and without, as plain values."""
    data, method = session.data, find_method(family)
    if session.recipe.budget.memory is not None:
        set_allocator("tight")  # live bytes are counted, not those of the heap: it need not grow
    as_codes = method.supports_codes and session.traits.frozen_codes
    frozen = "bf16" if as_codes and dtypes == ["bf16"] else "fp32"  # as the planner has it
    model = _prepared(method, _load_model(session, frozen, streamed), data.max_length).to(session.device.torch_device)
    traces = _traces(model, family, dtypes, session, train=True)
    if can_checkpoint(model):
        for dtype in dtypes:
            plain = traces[trace_key(family, dtype)]
            traces[trace_key(family, dtype, True)] = _checkpointed(plain, without_adapters(model), data.max_length)
    return traces_as_dict(traces)


def _load_model(session: Session, weight_dtype: str = "fp32", streamed: bool = False) -> Any:
    folder = weights_in(session.source.folder, weight_dtype) if streamed else session.source.folder
    model = session.task.load_model(folder, session.data, session.recipe.seed, weight_dtype)
    if streamed:
        stream_weights(model.requires_grad_(False), folder)
    return model


def _checkpointed(trace: Trace, model: Any, length: int) -> Trace:
    """The trace with each block's input kept and one block's insides alive at a time; the forward pass runs twice."""
    blocks, width = len(blocks_of(model)[1]), width_of(model.config)
    return replace(
        trace,
        row_bytes=math.ceil(_CHECKPOINTED_BLOCKS * trace.row_bytes / blocks + 4 * blocks * length * width),
        flops=trace.flops + trace.forward_flops,
    )


def _prepared(method: Method, model: Any, max_length: int) -> Any:
    """The model as the method's first variant trains it."""
    plan = Plan(
        method=method.name, dtype="fp32", batch=1, micro_batch=1, max_length=max_length, checkpointing=False,
        optimizer="adamw", learning_rate=0.0, epochs=1.0, steps=1, trainable=0,
        **method.variants(len(blocks_of(model)[1]), Knobs())[0],
    )  # fmt: skip
    return method.prepare(model, plan)


def _traces(
    model: Any, family: str, dtypes: Sequence[str], session: Session, *, train: bool, weight_dtype: str = "fp32"
) -> dict[str, Trace]:
    """A `Trace` for each dtype, from steps of one and of three rows; operations are counted once."""
    data, traits = session.data, session.traits
    # Three long rows would take gigabytes; what a token takes is the same in short ones (attention is fused there).
    length = min(data.max_length, traits.traced_tokens or data.max_length)
    model.train(train)
    found: dict[str, Trace] = {}
    counted: Traced | None = None
    for dtype in dtypes:
        cast = "fp32" if weight_dtype == dtype else dtype
        one, three = (
            trace_model(model, rows_like(data.train, rows, length), cast, train, rows == 1 and counted is None)
            for rows in (1, 3)
        )
        counted = counted or one
        each = max(1, math.ceil((three.live_bytes - one.live_bytes) / 2))
        found[trace_key(family, dtype)] = Trace(
            fixed_bytes=max(0, one.live_bytes - each) + traits.head_bytes,
            row_bytes=math.ceil(each * data.max_length / length),
            forward_flops=counted.forward_flops / length,
            flops=counted.flops / length,
        )
    return found


def throughput(
    model: Any,
    data: Encoded,
    casts: Mapping[str, str],
    forward_flops: float,
    pad_id: int,
    governor: Governor,
    rows: int,
) -> dict[str, float]:
    """Operations per second of a forward pass by dtype, on one batch of `rows` of median length, kernels warm.

    The best of a few: whatever else the machine does can only slow them, and one alone was off by half now and then. `casts`
    says for each dtype what weights are cast to.
    """
    order = np.argsort(data.lengths, kind="stable")
    middle = len(order) // 2
    few = select_rows(data, order[max(0, middle - rows // 2) :][:rows])
    tokens = len(few) * padded(int(few.lengths.max()))
    rates: dict[str, float] = {}
    for dtype, cast in casts.items():
        outputs_of(model, few, pad_id, cast, tokens, governor)
        seconds: list[float] = []
        while len(seconds) < _THROUGHPUT_TRIES and sum(seconds) < _THROUGHPUT_SECONDS:
            began = time.perf_counter()
            outputs_of(model, few, pad_id, cast, tokens, governor)
            seconds.append(time.perf_counter() - began)
        rates[dtype] = forward_flops * tokens / min(seconds)
    return rates


def make_profile(session: Session) -> Profile:
    """What the planner needs to know.

    Little of it when the model alone passes the memory budget; and in bf16 alone when it does so in fp32: steps by neighbours and
    adapters learn there.
    """
    recipe, data, meter, others = session.recipe, session.data, session.meter, session.phases.others_bytes
    meter.trim()
    unload_cold_code()
    libraries = meter.now()
    weight_dtype, gradients, streamed = _what_to_profile(session, libraries)
    found = profile_model(session, gradients, weight_dtype, streamed)
    session = with_trial(session)
    width = 0 if streamed else 2 if weight_dtype == "bf16" else 4
    loaded = libraries + found.facts.parameters * width
    can_stream = _can_stream(session) and not found.facts.layout_copies_bytes
    if recipe.knobs.stream and not can_stream:
        raise UserError(
            f"the weights of {recipe.model} cannot be read from disk as they are used, here or on this device; leave out --stream"
        )
    return Profile(
        device=session.device,
        model=found.facts,
        traits=session.traits,
        supervisor_bytes=others,
        libraries_bytes=libraries,
        import_peak_bytes=_starting_peak_bytes(session),
        weights_bytes=4 * found.facts.parameters,
        rows=len(data.train),
        validation_rows=len(data.validation),
        epoch_tokens=padded_tokens(data.train.lengths, recipe.knobs.batch or DEFAULT_BATCH, recipe.seed),
        validation_tokens=padded_tokens(data.validation.lengths, DEFAULT_BATCH, recipe.seed),
        max_length=data.max_length,
        classes=len(data.labels),
        code_bytes=max(0, found.passed_bytes - loaded),
        traces=found.traces,
        flops_per_second=found.flops_per_second,
        seconds_so_far=session.clock.elapsed + reports_seconds(session.starting_seconds, session.device.calibration),
        starting_seconds=session.starting_seconds,
        file_bytes=weight_bytes(session.source.folder),
        has_size_limit=session.structure is not None and session.structure.bits < HALF_BITS,
        can_stream=can_stream,
    )


def _starting_peak_bytes(session: Session) -> int:
    """The most that this process held so far, or its child that made the smaller model."""
    load_bytes = session.phases.memory_bytes.get("load", 0)
    return max(session.meter.peak(), load_bytes - session.phases.others_bytes)


def _can_stream(session: Session) -> bool:
    """Whether it is worth a thought: memory is limited, and most weights are frozen where adapters learn."""
    wanted = session.recipe.knobs.stream
    if wanted is None:
        wanted = session.recipe.budget.memory is not None
    return wanted and session.traits.frozen_codes and session.device.maps_files and session.structure is None


def _what_to_profile(session: Session, libraries_bytes: int) -> tuple[str, bool, bool]:
    """The dtype in which the profile may hold the weights, whether there is room for more than a forward pass of them, and
    whether they have to be streamed.

    A profile is not held to the budget, so it must not try what would pass it.
    """
    memory, others, peak = session.recipe.budget.memory, session.phases.others_bytes, _starting_peak_bytes(session)
    if memory is None:
        return "fp32", True, False
    numbers, file_bytes = count_parameters(session.source.folder), weight_bytes(session.source.folder)
    first_pass = session.device.calibration.first_pass_bytes

    def fits(weights_bytes: int) -> bool:
        loaded = weights_bytes + converted_bytes(file_bytes, weights_bytes)
        return others + max(libraries_bytes + loaded + first_pass, peak) <= memory

    if fits(4 * numbers):
        return "fp32", True, False
    if session.traits.frozen_codes:  # what adapters sit on is held in bf16; the least that would do is named from this
        in_bf16 = may_use_bf16_weights(session)
        streamed = _can_stream(session) and not (in_bf16 and fits(2 * numbers))
        return "bf16" if in_bf16 else "fp32", True, streamed
    if session.traits.needs_gradients:
        return "fp32", True, False
    large = 4 * numbers > 2 * libraries_bytes  # then bf16 is what needs least, and else a forward pass in fp32
    return "bf16" if may_use_bf16_weights(session) and (fits(2 * numbers) or large) else "fp32", False, False
