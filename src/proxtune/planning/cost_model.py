"""What a plan costs, by arithmetic, from what the survey found: bytes by phase, operations, seconds."""

from __future__ import annotations

import math
from dataclasses import replace

from proxtune.config.plan import CODE_BITS, Plan
from proxtune.data.batching import EVALUATION_BATCH
from proxtune.methods.registry import METHODS
from proxtune.planning.profile import Profile, Trace, trace_key

_ADAM_BYTES, _ADAFACTOR_BYTES = 8, 0.2  # optimizer state for each trained fp32 parameter
# Before a rehearsal has measured them. Seen with MiniLM on two cores (docs/memory.md); a plan is settled by measurement.
_SLACK = {"fast": 1.6, "tight": 1.05}  # footprint over live bytes for each allocator (memory/allocator.py)
# The share of a rehearsal's activations that the heap comes to hold beside them where text is generated, as was seen with
# SmolLM2 (`make bench-text-prediction`); there the heap is given back before each step.
_FRAGMENTED, _FRAGMENTED_CHECKPOINTED, _FRAGMENTED_TIGHT = {"bf16": 0.3, "fp32": 0.12}, 0.7, 0.05
_DEVICE_SLACK = 1.15  # on a GPU, whose allocator puts what it frees together again
_ADAPTER_SLACK = 1.6  # more of it under lora: small tensors between large ones
# Code, kernels and scratch beyond what one look in fp32 brings in; in bf16 oneDNN keeps kernels for each shape.
_KERNEL_BYTES = {"fp32": 22_000_000, "bf16": 120_000_000}
_FORWARD_KERNEL_BYTES = {"fp32": 8_000_000, "bf16": 40_000_000}
_LOOK_KERNEL_BYTES = {"fp32": 8_000_000, "bf16": 50_000_000}
_ADAPTER_KERNEL_BYTES = {"fp32": 8_000_000, "bf16": 60_000_000}
_VALIDATION_BYTES = 5_000_000  # what a heap that has trained does not give back
_ADAPTER_LIBRARY_BYTES = 22_000_000  # peft
_WIDTHS = {"fp32": 4, "bf16": 2}  # bytes of a number
_SCALE_BITS = 0.25  # for each code of 4 bits: 16 for 64 of them
_CODES_SLOWDOWN = 1.2
_GROWTH = 1.02
_GROWTH_BYTES = 6_000_000
_TIGHT_SLOWDOWN = 1.6
_VALIDATION_SHARE = 0.05  # of the training, for judgements in it: less than the planner leaves free
_UPDATE_SECONDS, _LOOK_UPDATE_SECONDS = 2e-9, 8e-9  # for each trained parameter
_LONG_MICRO_BATCH_SECONDS = 0.001  # the same where text is generated: hidden behind the computing
# For each block and micro-batch, whatever its size: dispatch and allocation.
_MICRO_BATCH_SECONDS = {"cpu": 0.01, "cuda": 0.001}
_FIT_SECONDS = 5e-7  # of scales, for each parameter
_ALLOCATION_ROWS = 16  # at a time, whose gradients say what weights are worth
_FIT_BYTES = 20_000_000  # of scales, at a time
_LEAST_HEAD_ROWS = 512
_ADAPTER_DISPATCHES = 2.5  # lora dispatches three products where there was one


def family_of(method: str) -> str:
    """Which trace says what a step of a method holds."""
    return {"probe": "forward", "lora": "lora", "nno": "nno"}.get(method, "layers")


def trainable_parameters(plan: Plan, profile: Profile) -> int:
    """How many parameters a plan trains; a rehearsal counts them."""
    head = profile.parameters - profile.embedding_parameters - profile.block_parameters
    if plan.method == "probe":
        return 0
    if plan.method == "nno":
        return profile.linear_parameters * plan.last_layers // profile.blocks
    if plan.method == "lora":
        return plan.rank * profile.rank_parameters + profile.head_parameters
    if plan.method == "layers":
        return profile.block_parameters * plan.last_layers // profile.blocks + head
    return profile.parameters


def trace_of(plan: Plan, profile: Profile) -> Trace:
    return profile.traces[trace_key(family_of(plan.method), plan.dtype, plan.checkpointing)]


def live_bytes(plan: Plan, profile: Profile) -> int:
    """Activations and casts alive at the worst moment of a step at the worst batch, gradients of weights not counted."""
    trace = trace_of(plan, profile)
    if plan.neighbours:
        # what comes out of the shared prefix
        hidden = plan.max_length * profile.width * (2 if plan.dtype == "bf16" else 4)
        return round(trace.fixed_bytes + (trace.row_bytes + hidden) * plan.micro_batch)
    share = plan.last_layers / profile.blocks if plan.method == "layers" else 1.0
    forward = profile.traces[trace_key("forward", plan.dtype, False)]
    rows = trace.row_bytes * share + forward.row_bytes * (1 - share)
    return round(trace.fixed_bytes + rows * plan.micro_batch)


def memory_of(plan: Plan, profile: Profile) -> tuple[dict[str, int], dict[str, int]]:
    """Predicted bytes of the process tree by phase, and the terms of the phase `train`."""
    gradients = 4 * plan.trainable if METHODS[plan.method].uses_gradients else 0
    state = {"adamw": _ADAM_BYTES, "adafactor": _ADAFACTOR_BYTES}.get(plan.optimizer, 0)
    forward = profile.traces[trace_key("nno" if plan.loaded_dtype == "bf16" else "forward", plan.dtype, False)]
    live = live_bytes(plan, profile)
    if plan.method == "full":
        live += 4 * profile.embedding_parameters  # the gradient of the embedding is made dense, then added
    slack = _slack(plan, profile)
    if plan.method == "lora" and plan.allocator == "fast" and not profile.generates and profile.device == "cpu":
        slack *= _ADAPTER_SLACK
    terms = {
        "supervisor": profile.supervisor_bytes,
        "libraries": profile.libraries_bytes
        + (_ADAPTER_LIBRARY_BYTES if plan.method == "lora" and profile.device == "cpu" else 0),
        "weights": weight_bytes_of(plan, profile) + (4 * plan.trainable if plan.method == "lora" else 0),
        "gradients": gradients,
        "optimizer": round(state * plan.trainable) if gradients else 0,
        "activations": live,
        "kernels": profile.code_bytes + (_kernel_bytes(plan, profile) if profile.device == "cpu" else 0),
        "slack": round((slack - 1) * live),
    }
    # latent weights beside their nearest points, of the embedding only a batch's rows
    if profile.has_size_limit and gradients:
        terms["latent"] = 4 * max(0, plan.trainable - (profile.embedding_parameters if plan.method == "full" else 0))
    terms["slack"] += with_growth(sum(terms.values())) - sum(terms.values())
    standing = sum(terms[name] for name in ("supervisor", "libraries", "weights", "optimizer", "kernels"))
    evaluate = round(
        _slack(plan, profile) * (forward.fixed_bytes + forward.row_bytes * min(plan.micro_batch, EVALUATION_BATCH))
    )
    latent = gradients if profile.has_size_limit else 0  # all of them, where the model is judged
    allocating = _allocation_bytes(plan, profile) if profile.has_size_limit and gradients else 0
    converted = converted_bytes(profile.file_bytes, weight_bytes_of(plan, profile))
    load = terms["supervisor"] + max(profile.import_peak_bytes, terms["libraries"] + terms["weights"] + converted)
    merged = _loaded_bytes(plan, profile) - weight_bytes_of(plan, profile)
    memory = {
        "load": load,
        "prepare": load - converted,
        "train": sum(terms.values()) if METHODS[plan.method].makes_steps else with_growth(standing + evaluate),
        "evaluate": with_growth(standing + max(evaluate + (_VALIDATION_BYTES + latent if gradients else 0), allocating)) + merged,
        "save": standing + merged - terms["optimizer"] + _loaded_bytes(plan, profile) // 8,
    }
    return memory, terms


def _allocation_bytes(plan: Plan, profile: Profile) -> int:
    """What the milestone takes for a while: a step of few rows through all blocks, with the largest gradient, and a fit."""
    trace = trace_of(plan, profile)
    rows = min(_ALLOCATION_ROWS, plan.micro_batch)
    live = trace.fixed_bytes + trace.row_bytes * rows + 8 * profile.embedding_parameters
    return round(_slack(plan, profile) * live) + _FIT_BYTES


def _slack(plan: Plan, profile: Profile) -> float:
    return _SLACK[plan.allocator] if profile.device == "cpu" else _DEVICE_SLACK


def _kernel_bytes(plan: Plan, profile: Profile) -> int:
    """What the compiled kernels of a CPU take, beyond what one look in fp32 brings in."""
    learns = METHODS[plan.method].uses_gradients
    table = _KERNEL_BYTES if learns else _LOOK_KERNEL_BYTES if plan.neighbours else _FORWARD_KERNEL_BYTES
    adapters = plan.method == "lora" and not profile.generates  # where few kernels are kept
    return table[plan.dtype] + (_ADAPTER_KERNEL_BYTES[plan.dtype] if adapters else 0)


def weight_bytes_of(plan: Plan, profile: Profile) -> int:
    """Bytes of the weights as the plan holds them."""
    if plan.base_dtype in CODE_BITS:
        bits = CODE_BITS[plan.base_dtype] + (_SCALE_BITS if plan.base_dtype == "int4" else 0)
        return _loaded_bytes(plan, profile) - round(profile.linear_parameters * (_WIDTHS[plan.dtype] - bits / 8))
    return _loaded_bytes(plan, profile)


def _loaded_bytes(plan: Plan, profile: Profile) -> int:
    """The same of the weights as they are loaded, and merged in the end."""
    return profile.weights_bytes * _WIDTHS[plan.loaded_dtype] // 4


def converted_bytes(file_bytes: int, weights_bytes: int) -> int:
    """What loading holds beside weights of another width than the file's: it stays mapped until all of them are converted."""
    return 0 if 0.75 < file_bytes / weights_bytes < 1.33 else file_bytes


def fragmentation_bytes(activation_bytes: int, plan: Plan) -> int:
    """What an allocator comes to hold beside activations of many shapes, of which few were met.

    Single rows are of every length, micro-batches of many rows are cut to nearly the same number of tokens; what is recomputed
    comes and goes between what stays; and in bf16 products copy what they multiply.
    """
    if plan.allocator == "tight":
        share = _FRAGMENTED_TIGHT
    else:
        share = _FRAGMENTED_CHECKPOINTED if plan.checkpointing else _FRAGMENTED[plan.dtype]
        share /= math.sqrt(plan.micro_batch)
    return round(share * activation_bytes)


def with_growth(measured_bytes: int) -> int:
    """What a phase takes in a whole run, of which a few steps measured so much: its heap breaks up."""
    return round(measured_bytes * _GROWTH) + _GROWTH_BYTES


def flops_of(plan: Plan, profile: Profile) -> float:
    """Floating-point operations of the whole run, evaluations included."""
    forward = profile.traces[trace_key("forward", plan.dtype, False)].forward_flops
    validation = evaluations(plan, profile) * profile.validation_tokens * forward
    if not METHODS[plan.method].makes_steps:
        return _head_flops(plan, profile) + validation
    tokens = plan.steps * plan.evaluated / profile.rows * profile.epoch_tokens
    head = _head_flops(plan, profile) if plan.neighbours else 0.0
    return head + tokens * _flops_per_token(plan, profile) + validation


def _flops_per_token(plan: Plan, profile: Profile) -> float:
    trace = trace_of(plan, profile)
    if plan.neighbours:  # rows pass through the blocks that do not learn once for all points
        learning = plan.last_layers / profile.blocks
        return trace.forward_flops * (learning + (1 - learning) * plan.batch / plan.evaluated)
    share = plan.last_layers / profile.blocks if plan.method == "layers" else 1.0
    return trace.forward_flops + share * (trace.flops - trace.forward_flops)


def seconds_per_step(plan: Plan, profile: Profile) -> float:
    """Seconds for one effective batch of mean length."""
    rate = profile.flops_per_second[plan.dtype]
    tokens = profile.epoch_tokens * plan.evaluated / profile.rows
    computing = _flops_per_token(plan, profile) * tokens / rate
    update = plan.trainable * (_LOOK_UPDATE_SECONDS if plan.neighbours else _UPDATE_SECONDS)
    slow = (_TIGHT_SLOWDOWN if plan.allocator == "tight" else 1.0) * (
        _CODES_SLOWDOWN if plan.base_dtype in CODE_BITS else 1.0
    )
    return slow * (computing + _dispatch_seconds(plan, profile, tokens)) + update


def _dispatch_seconds(plan: Plan, profile: Profile, tokens: float) -> float:
    """What so many tokens take to learn from beside the computing."""
    micro_batches = max(1.0, tokens / (plan.micro_batch * plan.max_length))
    each = _LONG_MICRO_BATCH_SECONDS if profile.generates else _MICRO_BATCH_SECONDS[profile.device]
    return each * profile.blocks * micro_batches * (_ADAPTER_DISPATCHES if plan.method == "lora" else 1.0)


def evaluations(plan: Plan, profile: Profile) -> int:
    """How often the validation rows are judged: for the result, and in training about twice an epoch, at least twice.

    But in training no more than takes a twentieth of it, and not once: that would be the result. `nno` is judged before its first
    step too, and what is held to a size where that begins.
    """
    if not METHODS[plan.method].makes_steps:
        return 1
    least = 2 if plan.neighbours or profile.has_size_limit else 0
    usual = max(2, min(12, round(2 * plan.steps * plan.batch / profile.rows)))
    affordable = min(usual, int(_VALIDATION_SHARE * plan.steps / validation_steps(plan, profile)))
    return 1 + max(least, affordable if affordable > 1 else 0)


def validation_steps(plan: Plan, profile: Profile) -> float:
    """How many steps take as long as one judgement."""
    return _validation_seconds(plan, profile) / seconds_per_step(plan, profile)


def _validation_seconds(plan: Plan, profile: Profile) -> float:
    tokens, forward = profile.validation_tokens, profile.traces[trace_key("forward", plan.dtype, False)].forward_flops
    dispatch = _dispatch_seconds(plan, profile, tokens) / 3 if METHODS[plan.method].makes_steps else 0.0
    return tokens * forward / profile.flops_per_second[plan.dtype] + dispatch + 0.2


def size_phase_seconds(plan: Plan, profile: Profile) -> float:
    """What it takes to begin to hold a model to a size: a pass over all rows, to teach what follows, and the fit of scales."""
    if not profile.has_size_limit or not METHODS[plan.method].uses_gradients:
        return 0.0
    forward = profile.traces[trace_key("forward", plan.dtype, False)].forward_flops
    passing = profile.epoch_tokens * forward / profile.flops_per_second[plan.dtype]
    return 3.0 + passing + _FIT_SECONDS * profile.parameters


def _head_seconds(plan: Plan, profile: Profile) -> float:
    """A pass over the rows that a head is fitted to, and the fit."""
    return 8.0 + _head_flops(plan, profile) / profile.flops_per_second[plan.dtype]


def _head_flops(plan: Plan, profile: Profile) -> float:
    rows = plan.head_rows if plan.neighbours else profile.rows
    return (
        rows / profile.rows * profile.epoch_tokens * profile.traces[trace_key("forward", plan.dtype, False)].forward_flops
    )


def head_rows_within(seconds: float, plan: Plan, profile: Profile) -> int:
    """How many rows pass through the model in so many seconds: what a head may be fitted to, some hundred at the least."""
    row = _head_flops(replace(plan, head_rows=1), profile) / profile.flops_per_second[plan.dtype]
    return int(min(profile.rows, max(_LEAST_HEAD_ROWS, seconds / row)))


def seconds_of(plan: Plan, profile: Profile) -> float:
    """Seconds from the person's command to the report on disk."""
    validation = evaluations(plan, profile) * _validation_seconds(plan, profile)
    ending = 4.0 + profile.weights_bytes / 2e8 + size_phase_seconds(plan, profile)
    if not METHODS[plan.method].makes_steps:
        return profile.seconds_so_far + _head_seconds(plan, profile) + validation + ending
    if plan.neighbours:
        ending += _head_seconds(plan, profile)  # what it begins with
    return profile.seconds_so_far + plan.steps * seconds_per_step(plan, profile) + validation + ending


_ENDING_SECONDS, _STARTS = 2.0, 2.0  # baselines and report, whose processes begin as this one did; twice what was seen


def reports_seconds(starting_seconds: float) -> float:
    return _ENDING_SECONDS + _STARTS * starting_seconds
