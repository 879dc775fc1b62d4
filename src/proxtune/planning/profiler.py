"""The survey: find out what the planner needs to know of this machine, this model and these data."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import numpy as np
import torch

from proxtune.compression.weight_format import HALF_BITS
from proxtune.config.plan import Plan
from proxtune.config.recipe import DEFAULT_BATCH
from proxtune.data.batching import cut, epoch_batches, padded
from proxtune.data.dataset import Encoded, rows_like, select_rows
from proxtune.memory.allocator import set_allocator
from proxtune.memory.governor import Governor
from proxtune.memory.library_pages import unload_cold_code
from proxtune.methods.registry import METHODS
from proxtune.models.introspection import block_lists, blocks_of, can_checkpoint, head_of
from proxtune.models.source import count_parameters, weight_bytes
from proxtune.planning.cost_model import converted_bytes, reports_seconds
from proxtune.planning.profile import Profile, Trace, trace_key
from proxtune.planning.tracer import Traced, trace_step
from proxtune.runtime.inference import warm_up_forward, touch_embeddings, outputs_of
from proxtune.runtime.session import Record, Session, in_child_process
from proxtune.tasks.base import Task
from proxtune.tasks.generation.objective import HEAD_BYTES

_THROUGHPUT_ROWS = 32
_THROUGHPUT_TRIES, _THROUGHPUT_SECONDS = 3, 1.0  # at most, for each dtype
_TRACED_TOKENS = 32  # of a row of text generation
_NOMINAL_FLOPS_PER_SECOND = 5e10  # where nothing may be measured because nothing fits


def has_fast_bf16(device: Any) -> bool:
    """Whether this device multiplies bfloat16 in hardware; elsewhere it is emulated and slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    supported = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return bool(supported()) or bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


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


def model_facts(model: Any) -> dict[str, int]:
    """Parameter counts by part of the model, its blocks and its width."""
    blocks, lists = blocks_of(model)[1], block_lists(model)
    lm_head = model.get_output_embeddings()  # a language-model head, which adapters leave as it is
    head = head_of(model)[1] if lm_head is None else lm_head
    adapted = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    embeddings = {id(m.weight): m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "embedding_parameters": sum(embeddings.values()),
        "block_parameters": sum(p.numel() for each in lists for p in each.parameters()),
        "linear_parameters": sum(
            m.weight.numel() for each in lists for m in each.modules() if isinstance(m, torch.nn.Linear)
        ),
        "rank_parameters": sum(m.in_features + m.out_features for m in adapted),
        "head_parameters": sum(p.numel() for p in head.parameters()) if lm_head is None else 0,
        "blocks": len(blocks),
        "width": int(model.config.hidden_size),
    }


def may_use_bf16_weights(session: Session) -> bool:
    """Whether a plan may come of weights that are held in bf16, where that pays: those of `nno`, those under adapters."""
    recipe = session.recipe
    return (
        recipe.method in ("auto", "lora" if session.task.generates else "nno")
        and recipe.knobs.dtype != "fp32"
        and has_fast_bf16(session.device)
    )


def profile_model(session: Session, gradients: bool, weight_dtype: str = "fp32") -> Record:
    """Trace every structure (family, dtype, checkpointing) that a candidate may have and feel the machine's pulse.

    Without `gradients` only the forward pass is traced, of weights that are held in `weight_dtype`: enough to name the least
    plan when nothing else can fit, and for `nno`.
    Plain values: `facts` of the model, `looked_bytes` that a process holds once it has passed a row through it, `traces`
    (see `Trace`), `flops_per_second` of a forward pass by dtype. Each part is found out apart from the others, so that no
    more than one of them is in memory at a time.
    """
    dtype, method = session.recipe.knobs.dtype, session.recipe.method
    dtypes = ["bf16"] if weight_dtype == "bf16" else [dtype] if dtype else _dtypes(session)
    measure_throughput = gradients or weight_dtype == "bf16"
    found = in_child_process(session, partial(_forward, session, dtypes, weight_dtype, measure_throughput))
    traces = found["traces"]
    if method in (("auto", "lora") if session.task.generates else ("auto", "nno")):
        traces |= _traces_for_nno(session, traces, dtypes, weight_dtype) if measure_throughput else {}
    families = {"auto": ["layers", "lora"], "lora": ["lora"], "probe": [], "nno": []}.get(method, ["layers"])
    if weight_dtype == "bf16":  # masters in fp32 do not fit
        families = ["lora"]
    for family in families if gradients else []:
        traces |= in_child_process(session, partial(_trace_family, session, family, dtypes))
    return found


def _traces_for_nno(session: Session, traces: dict[str, Any], dtypes: list[str], weight_dtype: str) -> dict[str, Any]:
    """Traces of a forward pass with the weights held in its dtype; nothing where `nno` cannot be what fits best."""
    if session.recipe.method == "auto" and session.recipe.budget.memory is None and not session.task.generates:
        return {}
    found = {trace_key("nno", dtype, False): traces[trace_key("forward", dtype, False)] for dtype in dtypes}
    if weight_dtype == "fp32" and "bf16" in dtypes:
        found |= in_child_process(session, partial(_trace_bf16_forward, session))
    return found


def _dtypes(session: Session) -> list[str]:
    """Those that may be best: bf16 where it pays, which takes more memory for its kernels; so fp32 too where memory is short."""
    if not has_fast_bf16(session.device):
        return ["fp32"]
    return ["bf16"] if session.recipe.budget.memory is None or session.task.generates else ["bf16", "fp32"]


def _trace_bf16_forward(session: Session) -> Record:
    """Trace of a forward pass with the weights held in bf16."""
    model = _load_model(session, "bf16").requires_grad_(False).to(session.device)
    return _traces(model, "nno", ["bf16"], session.task, train=False, weight_dtype="bf16")


def _forward(session: Session, dtypes: list[str], weight_dtype: str, measure_throughput: bool) -> Record:
    """Facts of the model, traces of its forward pass, and the rates of that."""
    task = session.task
    model = _load_model(session, weight_dtype).requires_grad_(False).to(session.device)
    warm_up_forward(model, task.train, task.pad_id, "fp32", session.governor)
    touch_embeddings(model, task.train, task.validation)
    looked_bytes = session.meter.now()
    traces = _traces(model, "forward", dtypes, task, train=False, weight_dtype=weight_dtype)
    forward_flops = traces[trace_key("forward", dtypes[0], False)]["forward_flops"]
    session.meter.trim()
    rates = dict.fromkeys(dtypes, _NOMINAL_FLOPS_PER_SECOND)
    if measure_throughput:
        casts = {dtype: "fp32" if weight_dtype == dtype else dtype for dtype in dtypes}
        rows = _THROUGHPUT_ROWS
        if session.governor.room_bytes is not None:
            spare = session.governor.room_bytes - session.meter.now()
            each = max(trace["row_bytes"] for trace in traces.values())
            rows = max(1, min(rows, int(spare / (2 * each))))
        rates = throughput(model, task.train, casts, forward_flops, task.pad_id, session.governor, rows)
    facts = model_facts(model)
    return {"facts": facts, "looked_bytes": looked_bytes, "traces": traces, "flops_per_second": rates}


def _trace_family(session: Session, family: str, dtypes: list[str]) -> Record:
    """Traces of a training step, with checkpointing and without."""
    task = session.task
    if session.recipe.budget.memory is not None:
        set_allocator("tight")  # live bytes are counted, not those of the heap: it need not grow
    frozen = "bf16" if family == "lora" and task.generates and dtypes == ["bf16"] else "fp32"  # as the planner has it
    model = _prepared(_load_model(session, frozen), family, task.max_length).to(session.device)
    traces = _traces(model, family, dtypes, task, train=True)
    if can_checkpoint(model):
        for dtype in dtypes:
            plain = traces[trace_key(family, dtype, False)]
            traces[trace_key(family, dtype, True)] = _checkpointed(plain, task.config, task.max_length)
    return traces


def _load_model(session: Session, weight_dtype: str = "fp32") -> Any:
    return session.task.load(session.source.folder, session.recipe.seed, weight_dtype)


def _checkpointed(trace: dict[str, float], config: Any, length: int) -> dict[str, float]:
    """The trace with each block's input kept and one block's insides alive at a time; the forward pass runs twice."""
    blocks, width = config.num_hidden_layers, config.hidden_size
    return {
        **trace,
        "row_bytes": math.ceil(1.5 * trace["row_bytes"] / blocks + 4 * blocks * length * width),
        "flops": trace["flops"] + trace["forward_flops"],
    }


def _prepared(model: Any, family: str, max_length: int) -> Any:
    blocks = len(blocks_of(model)[1])
    plan = Plan(family, "fp32", 1, 1, max_length, False, "adamw", 0.0, 1.0, 1, 0, rank=16, last_layers=blocks)
    return METHODS[family].prepare(model, plan)


def _traces(
    model: Any, family: str, dtypes: list[str], task: Task, train: bool, weight_dtype: str = "fp32"
) -> dict[str, dict[str, float]]:
    """A `Trace` for each dtype as plain values, from steps of one and of three rows; operations are counted once."""
    # Three long rows of a decoder would take gigabytes; what a token takes is the same in short ones (attention is fused there).
    length = min(task.max_length, _TRACED_TOKENS) if task.generates else task.max_length
    model.train(train)
    found: dict[str, dict[str, float]] = {}
    counted: Traced | None = None
    for dtype in dtypes:
        cast = "fp32" if weight_dtype == dtype else dtype
        one, three = (
            trace_step(model, rows_like(task.train, rows, length), cast, train, rows == 1 and counted is None)
            for rows in (1, 3)
        )
        counted = counted or one
        each = max(1, math.ceil((three.live_bytes - one.live_bytes) / 2))
        found[trace_key(family, dtype, False)] = {
            "fixed_bytes": max(0, one.live_bytes - each) + (HEAD_BYTES if task.generates else 0),
            "row_bytes": math.ceil(each * task.max_length / length),
            "forward_flops": counted.forward_flops / length, "flops": counted.flops / length,
        }  # fmt: skip
    return found


def throughput(
    model: Any, data: Encoded, casts: dict[str, str], forward_flops: float, pad_id: int, governor: Governor, rows: int
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


_LOOK_BYTES = 60_000_000  # code and scratch of a first look, at the least


def make_profile(session: Session) -> Profile:
    """What the planner needs to know.

    Little of it when the model alone passes the memory budget; and in bf16 alone when it does so in fp32: `nno` learns there.
    """
    recipe, task, meter, others = session.recipe, session.task, session.meter, session.phases.others_bytes
    starting_seconds = session.clock.elapsed
    meter.trim()
    unload_cold_code()
    libraries = meter.now()
    weight_dtype, gradients = _what_to_profile(session, libraries)
    found = profile_model(session, gradients, weight_dtype)
    facts = found["facts"]
    looked = libraries + facts["parameters"] * (2 if weight_dtype == "bf16" else 4)
    return Profile(
        **facts,
        supervisor_bytes=others,
        libraries_bytes=libraries,
        import_peak_bytes=meter.peak(),
        weights_bytes=4 * facts["parameters"],
        rows=len(task.train),
        validation_rows=len(task.validation),
        epoch_tokens=padded_tokens(task.train.lengths, recipe.knobs.batch or DEFAULT_BATCH, recipe.seed),
        validation_tokens=padded_tokens(task.validation.lengths, DEFAULT_BATCH, recipe.seed),
        max_length=task.max_length,
        code_bytes=max(0, found["looked_bytes"] - looked),
        traces={key: Trace(**value) for key, value in found["traces"].items()},
        flops_per_second=found["flops_per_second"],
        seconds_so_far=session.clock.elapsed + reports_seconds(starting_seconds),
        starting_seconds=starting_seconds,
        file_bytes=weight_bytes(session.source.folder),
        has_size_limit=session.structure is not None and session.structure.bits < HALF_BITS,
        generates=task.generates,
        device=session.device.type,
    )


def _what_to_profile(session: Session, libraries_bytes: int) -> tuple[str, bool]:
    """The dtype in which the survey may hold the weights, and whether there is room for more than a look at them.

    A survey is not held to the budget, so it must not try what would pass it.
    """
    memory, others, peak = session.recipe.budget.memory, session.phases.others_bytes, session.meter.peak()
    if memory is None:
        return "fp32", True
    numbers, file_bytes = count_parameters(session.source.folder), weight_bytes(session.source.folder)

    def fits(weights_bytes: int) -> bool:
        loaded = weights_bytes + converted_bytes(file_bytes, weights_bytes)
        return others + max(libraries_bytes + loaded + _LOOK_BYTES, peak) <= memory

    if fits(4 * numbers):
        return "fp32", True
    if session.task.generates:  # what adapters sit on is held in bf16; the least that would do is named from this
        return ("bf16", True) if may_use_bf16_weights(session) else ("fp32", True)
    large = 4 * numbers > 2 * libraries_bytes  # then bf16 is what needs least, and else a probe in fp32
    return "bf16" if may_use_bf16_weights(session) and (fits(2 * numbers) or large) else "fp32", False
