"""What a plan costs, by arithmetic, from what the profile says: bytes by phase, operations, seconds."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from proxtune.config.plan import CODE_BITS, Plan
from proxtune.data.batching import EVALUATION_BATCH
from proxtune.memory.devices.calibration import Calibration
from proxtune.methods.base import FORWARD, HELD_FORWARD
from proxtune.methods.linear_head import fitting_bytes, fitting_flops
from proxtune.methods.registry import find_method
from proxtune.planning.profile import Profile, Trace, trace_key

_STATE_BYTES = {"adamw": 8, "adafactor": 0.2}  # for each trained fp32 parameter: two moments; rows and columns of one
WIDTHS = {"fp32": 4, "bf16": 2}  # bytes of a number
_SCALE_BITS = 0.25  # for each code of 4 bits: 16 for 64 of them
# Of the time, for each evaluation in training: where all rows take longer some are evaluated, but so many at the least. By 200
# rows accuracy is known to 3 points, by 32 texts the loss to a tenth; the result is judged on more.
_EVALUATION_SHARE, _LEAST_EVALUATED, _LEAST_TEXTS = 0.02, 200, 32
_FP32_SLOWER = 3.0  # than bf16 where fp32 was not measured: set by hand, without a record
_VALIDATION_SHARE = 0.05  # of the training, for evaluations in it: less than the planner leaves free
_ALLOCATION_ROWS = 16  # at a time, whose gradients say what weights are worth
_STREAMED_BLOCKS = 1.25  # in memory: one, and pages that two of them share
LEAST_HEAD_ROWS = 512  # fewer teach a head little
_COPIED_SHARE = 8  # while weights are written an eighth of them at the most is there twice
_STARTS = 1.0  # of processes as slow as this one's, for baselines and report: each imports half as much


def trainable_parameters(plan: Plan, profile: Profile) -> int:
    """How many parameters a plan trains; a dry run counts them."""
    return find_method(plan.method).cost.count_trainable(plan, profile.model)


def trace_of(plan: Plan, profile: Profile) -> Trace:
    """The traced step that says what a step of the plan holds."""
    family = find_method(plan.method).cost.trace_family
    return profile.traces[trace_key(family, plan.dtype, plan.checkpointing)]


def _forward_flops(plan: Plan, profile: Profile) -> float:
    """Operations of a forward pass for each token."""
    return profile.traces[trace_key(FORWARD, plan.dtype)].forward_flops


def live_bytes(plan: Plan, profile: Profile) -> int:
    """Activations and casts alive at the worst moment of a step at the worst batch, gradients of weights not counted."""
    trace = trace_of(plan, profile)
    if plan.neighbours:
        # what comes out of the shared prefix
        hidden = plan.max_length * profile.model.width * WIDTHS[plan.dtype]
        return round(trace.fixed_bytes + (trace.row_bytes + hidden) * plan.micro_batch)
    share = find_method(plan.method).cost.backward_share(plan, profile.model)
    forward = profile.traces[trace_key(FORWARD, plan.dtype)]
    rows = trace.row_bytes * share + forward.row_bytes * (1 - share)
    return round(trace.fixed_bytes + rows * plan.micro_batch)


def memory_of(plan: Plan, profile: Profile) -> tuple[dict[str, int], dict[str, int]]:
    """Predicted bytes of the process tree by phase, and the terms of the phase `train`."""
    method, calibration = find_method(plan.method), profile.calibration
    cost = method.cost
    gradients = 4 * plan.trainable if method.uses_gradients else 0
    embedding = profile.model.embedding_parameters if cost.trains_embeddings else 0
    family = HELD_FORWARD if plan.loaded_dtype == "bf16" else FORWARD
    forward = profile.traces[trace_key(family, plan.dtype)]
    live = live_bytes(plan, profile) + 4 * embedding  # its gradient is made dense, then added
    slack = calibration.allocator_slack[plan.allocator]
    if profile.traits.long_rows:
        slack = calibration.long_slack * (1 + fragmentation_bytes(live, plan, calibration) / max(1, live))
    growth = partial(with_growth, calibration=calibration)
    terms = {
        "supervisor": profile.supervisor_bytes,
        "libraries": profile.libraries_bytes,
        "weights": weight_bytes_of(plan, profile),
        "gradients": gradients,
        "optimizer": round(_STATE_BYTES.get(plan.optimizer, 0) * plan.trainable) if gradients else 0,
        "activations": live,
        "kernels": profile.code_bytes + cost.kernel_bytes(plan, profile.traits, calibration),
        "slack": round((slack * cost.heap_slack(plan, profile.traits, calibration) - 1) * live),
    }
    for name, extra in cost.extra_bytes(plan, profile.model, calibration).items():
        terms[name] = terms.get(name, 0) + extra
    if (
        profile.has_size_limit and gradients
    ):  # latent weights beside their nearest points, of the embedding only a batch's rows
        terms["latent"] = 4 * max(0, plan.trainable - embedding)
    terms["slack"] += growth(sum(terms.values())) - sum(terms.values())
    standing = sum(terms[name] for name in ("supervisor", "libraries", "weights", "optimizer", "kernels"))
    evaluate = round(slack * (forward.fixed_bytes + forward.row_bytes * min(plan.micro_batch, EVALUATION_BATCH)))
    after_training = evaluate
    if gradients:
        latent = gradients if profile.has_size_limit else 0  # all of them, where the model is evaluated
        after_training += calibration.trained_heap_bytes + latent
        if profile.has_size_limit:
            after_training = max(after_training, _allocation_bytes(plan, profile))
    converted = 0 if plan.streamed else converted_bytes(profile.file_bytes, weight_bytes_of(plan, profile))
    load = terms["supervisor"] + max(profile.import_peak_bytes, terms["libraries"] + terms["weights"] + converted)
    merged = 0 if plan.streamed else _loaded_bytes(plan, profile) - weight_bytes_of(plan, profile)
    fitting = growth(standing - terms["optimizer"] + evaluate) + _fitting_bytes(plan, profile) if plan.head_rows else 0
    memory = {
        "load": load,
        "prepare": load - converted,
        "train": max(fitting, sum(terms.values()) if method.makes_steps else 0),
        "evaluate": growth(standing + after_training) + merged,
        "save": standing + merged - terms["optimizer"] + _copied_bytes(plan, profile),
    }
    return memory, terms


def _fitting_bytes(plan: Plan, profile: Profile) -> int:
    """What a classification layer's fit takes: features, and what the fit remembers."""
    return fitting_bytes(
        plan.head_rows + (plan.validation_rows or profile.validation_rows), profile.model.width, profile.classes
    )


def _allocation_bytes(plan: Plan, profile: Profile) -> int:
    """What the bit allocation takes for a while: a step of few rows through all blocks, with the largest gradient, and a fit."""
    trace = trace_of(plan, profile)
    rows = min(_ALLOCATION_ROWS, plan.micro_batch)
    live = trace.fixed_bytes + trace.row_bytes * rows + 8 * profile.model.embedding_parameters
    return round(profile.calibration.allocator_slack[plan.allocator] * live) + profile.calibration.scale_fit_bytes


def weight_bytes_of(plan: Plan, profile: Profile) -> int:
    """Bytes of the weights as the plan holds them: of streamed ones, a block and what is left of tables and norms."""
    if plan.streamed:
        model = profile.model
        return round(WIDTHS[plan.loaded_dtype] * _STREAMED_BLOCKS * model.block_parameters / model.blocks)
    if plan.base_dtype in CODE_BITS:
        bits = CODE_BITS[plan.base_dtype] + (_SCALE_BITS if plan.base_dtype == "int4" else 0)
        return _loaded_bytes(plan, profile) - round(profile.model.linear_parameters * (WIDTHS[plan.dtype] - bits / 8))
    return _loaded_bytes(plan, profile)


def _loaded_bytes(plan: Plan, profile: Profile) -> int:
    """The same of the weights as they are loaded, and merged in the end."""
    return profile.weights_bytes * WIDTHS[plan.loaded_dtype] // 4


def _copied_bytes(plan: Plan, profile: Profile) -> int:
    """What is there twice while weights are written: a part of them, and those that have another layout in files."""
    if plan.streamed:  # a weight at a time
        return 0
    laid_out = 0 if profile.has_size_limit else profile.model.layout_copies_bytes * WIDTHS[plan.loaded_dtype] // 4
    return _loaded_bytes(plan, profile) // _COPIED_SHARE + laid_out


def converted_bytes(file_bytes: int, weights_bytes: int) -> int:
    """What loading holds beside weights of another width than the file's: it stays mapped until all of them are converted."""
    return 0 if 0.75 < file_bytes / weights_bytes < 1.33 else file_bytes


def fragmentation_bytes(activation_bytes: int, plan: Plan, calibration: Calibration) -> int:
    """What an allocator comes to hold beside activations of many shapes, of which few were met.

    Single rows are of every length, micro-batches of many rows are cut to nearly the same number of tokens; what is recomputed
    comes and goes between what stays; and in bf16 products copy what they multiply.
    """
    if plan.allocator == "tight":
        return round(calibration.fragmented_share_tight * activation_bytes)
    if plan.checkpointing:
        share = calibration.fragmented_share_checkpointed["codes" if plan.base_dtype in CODE_BITS else plan.dtype]
    else:
        share = calibration.fragmented_share[plan.dtype]
    return round(share / math.sqrt(plan.micro_batch) * activation_bytes)


def with_growth(measured_bytes: int, calibration: Calibration) -> int:
    """What a phase takes in a whole run, of which a few steps measured so much: its heap breaks up."""
    return round(measured_bytes * calibration.growth_ratio) + calibration.growth_bytes


def flops_of(plan: Plan, profile: Profile) -> float:
    """Floating-point operations of the whole run, evaluations included."""
    tokens = _evaluations_in_training(plan, profile) * _validation_tokens(plan, profile) + _final_tokens(plan, profile)
    validation = tokens * _forward_flops(plan, profile)
    if not find_method(plan.method).makes_steps:
        return _head_flops(plan, profile) + validation
    tokens = plan.steps * plan.evaluated / profile.rows * profile.epoch_tokens
    return _head_flops(plan, profile) + tokens * _flops_per_token(plan, profile) + validation


def _flops_per_token(plan: Plan, profile: Profile) -> float:
    trace = trace_of(plan, profile)
    if plan.neighbours:  # rows pass through the blocks that do not learn once for all points
        learning = plan.last_layers / profile.model.blocks
        return trace.forward_flops * (learning + (1 - learning) * plan.batch / plan.evaluated)
    share = find_method(plan.method).cost.backward_share(plan, profile.model)
    return trace.forward_flops + share * (trace.flops - trace.forward_flops)


def seconds_per_step(plan: Plan, profile: Profile) -> float:
    """Seconds for one effective batch of mean length."""
    cost, calibration = find_method(plan.method).cost, profile.calibration
    rate = profile.flops_per_second[plan.dtype]
    tokens = profile.epoch_tokens * plan.evaluated / profile.rows
    computing = _flops_per_token(plan, profile) * tokens / rate
    update = plan.trainable * cost.update_seconds(calibration)
    streaming = calibration.streamed_slowdown if plan.streamed else 1.0
    slow = (
        streaming
        * (calibration.tight_slowdown if plan.allocator == "tight" else 1.0)
        * cost.slowdown(plan, calibration)
    )
    return slow * (computing + _dispatch_seconds(plan, profile, tokens)) + update


def _dispatch_seconds(plan: Plan, profile: Profile, tokens: float) -> float:
    """What so many tokens take to learn from beside the computing."""
    calibration = profile.calibration
    micro_batches = max(1.0, tokens / (plan.micro_batch * plan.max_length))
    each = calibration.long_micro_batch_seconds if profile.traits.long_rows else calibration.micro_batch_seconds
    return each * profile.model.blocks * micro_batches * find_method(plan.method).cost.dispatches


def evaluations(plan: Plan, profile: Profile) -> int:
    """How often the validation rows are evaluated: for the result, and in training about twice an epoch, at least twice.

    But in training no more than takes a twentieth of it, and not once: that would be the result. What begins with a fitted head,
    or knows its task, is compared with that after the last step, and what is held to a size where that begins too.
    """
    if not find_method(plan.method).makes_steps:
        return 1
    least = 2 if profile.has_size_limit else 1 if plan.head_rows or profile.traits.validates_start else 0
    usual = max(2, min(12, round(2 * plan.steps * plan.batch / profile.rows)))
    affordable = min(usual, int(_VALIDATION_SHARE * plan.steps / validation_steps(plan, profile)))
    return 1 + max(least, affordable if affordable > 1 else 0)


def _evaluations_in_training(plan: Plan, profile: Profile) -> int:
    return evaluations(plan, profile) - 1 + profile.traits.validates_start


def validation_rows_within(seconds: float | None, plan: Plan, profile: Profile) -> int:
    """How many validation rows are evaluated in a training of so many seconds; 0 for all of them."""
    if seconds is None:
        return 0
    whole = _passing_seconds(profile.validation_tokens, plan.dtype, plan, profile)
    least = _LEAST_TEXTS if profile.traits.long_rows else _LEAST_EVALUATED
    rows = max(least, int(_EVALUATION_SHARE * seconds / whole * profile.validation_rows))
    return 0 if rows >= profile.validation_rows else rows


def validation_steps(plan: Plan, profile: Profile) -> float:
    """How many steps take as long as one evaluation in training."""
    return _validation_seconds(plan, profile) / seconds_per_step(plan, profile)


def final_validations(plan: Plan, profile: Profile) -> float:
    """How many evaluations in training take as long as that of the result."""
    return _final_seconds(plan, profile) / _validation_seconds(plan, profile)


def _validation_seconds(plan: Plan, profile: Profile) -> float:
    tokens = _validation_tokens(plan, profile)
    return _passing_seconds(tokens, plan.dtype, plan, profile) + profile.calibration.evaluation_seconds


def _final_seconds(plan: Plan, profile: Profile) -> float:
    """Seconds for the evaluation of the result, which computes in the dtype of its weights."""
    tokens, dtype = _final_tokens(plan, profile), "bf16" if plan.loaded_dtype == "bf16" else "fp32"
    return _passing_seconds(tokens, dtype, plan, profile) + profile.calibration.evaluation_seconds


def _validation_tokens(plan: Plan, profile: Profile) -> float:
    return profile.validation_tokens * (plan.validation_rows or profile.validation_rows) / profile.validation_rows


def _final_tokens(plan: Plan, profile: Profile) -> float:
    """Of all rows, but where answers are judged: there of as many as in training."""
    return _validation_tokens(plan, profile) if profile.traits.compares_base_model else profile.validation_tokens


def _passing_seconds(tokens: float, dtype: str, plan: Plan, profile: Profile) -> float:
    """Seconds for a forward pass of so many tokens."""
    # a third of a step's: no backward pass, no gradients
    dispatch = _dispatch_seconds(plan, profile, tokens) / 3 if find_method(plan.method).makes_steps else 0.0
    rates = profile.flops_per_second
    rate = rates[dtype] if dtype in rates else rates[plan.dtype] / (1.0 if dtype == plan.dtype else _FP32_SLOWER)
    return tokens * _forward_flops(plan, profile) / rate + dispatch


def size_phase_seconds(plan: Plan, profile: Profile) -> float:
    """What it takes to begin to hold a model to a size: a pass over all rows, to teach what follows, and the fit of scales."""
    if not profile.has_size_limit or not find_method(plan.method).uses_gradients:
        return 0.0
    passing = profile.epoch_tokens * _forward_flops(plan, profile) / profile.flops_per_second[plan.dtype]
    calibration = profile.calibration
    return calibration.size_phase_seconds + passing + calibration.scale_fit_seconds * profile.model.parameters


def head_seconds(plan: Plan, profile: Profile) -> float:
    """A pass over the rows that a head is fitted to and over those of validation, and the fit; 0 where none is fitted."""
    if not plan.head_rows:
        return 0.0
    return profile.calibration.head_seconds + _head_flops(plan, profile) / profile.flops_per_second[plan.dtype]


def _head_flops(plan: Plan, profile: Profile) -> float:
    if not plan.head_rows:
        return 0.0
    tokens = plan.head_rows / profile.rows * profile.epoch_tokens + _validation_tokens(plan, profile)
    passing = tokens * _forward_flops(plan, profile)
    return passing + fitting_flops(plan.head_rows, profile.model.width, profile.classes)


def head_rows_within(seconds: float, plan: Plan, profile: Profile) -> int:
    """How many rows a head can be fitted to in so many seconds, some hundred at the least."""
    one, two = (head_seconds(replace(plan, head_rows=rows), profile) for rows in (1, 2))
    return int(min(profile.rows, max(LEAST_HEAD_ROWS, 1 + (seconds - one) / (two - one))))


def seconds_of(plan: Plan, profile: Profile) -> float:
    """Seconds from the user's command to the report on disk."""
    calibration = profile.calibration
    validation = _evaluations_in_training(plan, profile) * _validation_seconds(plan, profile) + _final_seconds(
        plan, profile
    )
    saving = profile.weights_bytes / calibration.disk_bytes_per_second
    ending = calibration.ending_seconds + saving + size_phase_seconds(plan, profile)
    steps = plan.steps * seconds_per_step(plan, profile) if find_method(plan.method).makes_steps else 0.0
    return profile.seconds_so_far + head_seconds(plan, profile) + steps + validation + ending


def reports_seconds(starting_seconds: float, calibration: Calibration) -> float:
    """What baselines and report take at the end."""
    return calibration.reports_seconds + _STARTS * starting_seconds
