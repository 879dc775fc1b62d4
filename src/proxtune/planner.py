"""The planner: candidates → costs → those that fit → ranked → a `Plan`, or `Infeasible` naming the nearest.

Arithmetic only; what it knows of the machine, the model and the data stands in a `Survey`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from proxtune.budget import Budget, format_bytes, format_seconds
from proxtune.methods import METHODS
from proxtune.plan import Cost, Infeasible, Plan, Refused
from proxtune.recipe import DEFAULT_BATCH, Knobs

DEFAULT_EPOCHS = 4.0  # the most passes over the data that pay; less when the time is short
_LEAST_STEPS = 20
_LONG = (
    192  # tokens; in shorter rows activations are small beside the rest and recomputing them was seen to save nothing
)
_TIME_SHARE = 0.93  # the rest is for a machine that slows down
_SPEED_OF_BACKWARD = 0.8  # of the forward pass's operations per second, until the rehearsal has measured it
_ADAM_BYTES, _ADAFACTOR_BYTES = 8, 0.2  # optimizer state for each trained fp32 parameter
# Footprint over live bytes for each allocator (see memory/allocator.py), and kernels' code and scratch
_SLACK = {"fast": 2.2, "tight": 1.08}
KERNEL_BYTES = {"fp32": 110_000_000, "bf16": 450_000_000}  # bf16: oneDNN's compiled kernels, one a shape
_FORWARD_KERNEL_BYTES = {"fp32": 85_000_000, "bf16": 130_000_000}
_ADAPTER_LIBRARY_BYTES = 22_000_000  # peft
_TIGHT_SLOWDOWN = 1.6
_BITE_SECONDS = 0.01  # for each block and micro-batch, whatever its size: dispatch and allocation


@dataclass(frozen=True, slots=True)
class Trace:
    """Traced step of one structure at the longest length: live bytes are `fixed_bytes` + rows · `row_bytes`."""

    fixed_bytes: int
    row_bytes: int
    forward_flops: float  # for each token
    flops: float  # for each token, backward included


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found out before planning: the machine, the model, the data."""

    supervisor_bytes: int
    libraries_bytes: int  # this process before the model is loaded, tokenised data included
    import_peak_bytes: int  # the most it held while importing and reading
    weights_bytes: int
    parameters: int
    embedding_parameters: int
    block_parameters: int  # in all blocks together
    linear_parameters: int  # in the blocks' linear layers: what lora's adapters sit on, and what bf16 casts
    width: int
    blocks: int
    rows: int
    validation_rows: int
    epoch_tokens: int  # padded
    validation_tokens: int  # padded
    max_length: int
    traces: dict[str, Trace] = field(default_factory=dict)  # by "lora/bf16/ckpt" and the like
    flops_per_second: dict[str, float] = field(default_factory=dict)  # of a forward pass, by dtype
    seconds_so_far: float = 0.0
    supports_checkpointing: bool = True


def trace_key(family: str, dtype: str, checkpointing: bool) -> str:
    """Name of a traced structure in a survey."""
    return f"{family}/{dtype}{'/ckpt' if checkpointing else ''}"


@dataclass(frozen=True, slots=True)
class Choice:
    """What the planner found: the best plan (or why none fits), and every candidate with its fate, best first."""

    plan: Plan | None
    infeasible: Infeasible | None
    fitting: list[Plan]
    refused: list[Refused]


def choose(survey: Survey, budget: Budget, knobs: Knobs, method: str = "auto") -> Choice:
    """The plan with the best expected result among those that fit the whole budget."""
    fitting: list[Plan] = []
    refused: list[Refused] = []
    for candidate in candidates(survey, knobs, method):
        fitted = fit(candidate, survey, budget, knobs)
        if isinstance(fitted, Plan):
            fitting.append(fitted)
        else:
            refused.append(fitted)
    fitting.sort(key=lambda plan: -plan.expected)
    if fitting:
        return Choice(fitting[0], None, fitting, refused)
    if not refused:  # the forward pass alone was traced, and the method needs gradients
        return choose(survey, budget, dataclasses.replace(knobs, checkpointing=None), "probe")
    return Choice(None, _nearest(refused, budget), [], refused)


def candidates(survey: Survey, knobs: Knobs, method: str = "auto") -> Iterator[Plan]:
    """Every structure worth considering, without batch sizes or costs."""
    batch = knobs.batch or max(DEFAULT_BATCH, knobs.micro_batch or 0)
    batch = min(batch, survey.rows)
    for name, entry in METHODS.items():
        if method not in ("auto", name):
            continue
        for variant in entry.variants(survey.blocks, knobs):
            for key in survey.traces:
                family, dtype, *rest = key.split("/")
                checkpointing = bool(rest)
                if family != _family(name) or (knobs.dtype or dtype) != dtype:
                    continue
                wanted = knobs.checkpointing
                if entry.uses_gradients and wanted is not None and wanted != checkpointing:
                    continue
                if wanted is None and checkpointing and survey.max_length < _LONG:
                    continue
                plan = Plan(
                    method=name,
                    dtype=dtype,
                    batch=batch,
                    micro_batch=min(knobs.micro_batch or batch, batch),
                    max_length=survey.max_length,
                    checkpointing=checkpointing,
                    optimizer=(knobs.optimizer or "adamw") if entry.uses_gradients else "none",
                    learning_rate=knobs.learning_rate or entry.learning_rate * min(1.0, 384 / survey.width),
                    epochs=knobs.epochs or DEFAULT_EPOCHS,
                    steps=0,
                    trainable=0,
                    keep_adapter=bool(knobs.keep_adapter) and name == "lora",
                    **variant,
                )
                plan = replace(plan, trainable=trainable_parameters(plan, survey))
                yield plan
                everything = name == "full" or plan.last_layers == survey.blocks
                if entry.uses_gradients and knobs.optimizer is None and name != "lora" and everything:
                    yield replace(plan, optimizer="adafactor")


def _family(method: str) -> str:
    return {"probe": "forward", "lora": "lora"}.get(method, "layers")


def trainable_parameters(plan: Plan, survey: Survey) -> int:
    """How many parameters a plan trains (lora's from the mean width of its linear layers)."""
    head = survey.parameters - survey.embedding_parameters - survey.block_parameters
    if plan.method == "probe":
        return 0
    if plan.method == "lora":
        per_rank = 1.5 * survey.linear_parameters / survey.width  # Σ (in + out) for the usual 4:1 feed-forward
        return round(plan.rank * per_rank) + head
    if plan.method == "layers":
        return survey.block_parameters * plan.last_layers // survey.blocks + head
    return survey.parameters


def fit(plan: Plan, survey: Survey, budget: Budget, knobs: Knobs) -> Plan | Refused:
    """The plan with the largest micro-batch and the most epochs that fit, or why there is none."""
    if budget.trainable is not None and plan.trainable > budget.trainable:
        return Refused(
            _costed(plan, survey, budget),
            f"trains {plan.trainable:,} parameters, --trainable allows {budget.trainable:,}",
        )
    if budget.size is not None and survey.weights_bytes > budget.size:
        return Refused(
            _costed(plan, survey, budget),
            f"its model takes {format_bytes(survey.weights_bytes)}, --size allows {format_bytes(budget.size)}",
        )
    for allocator in ("fast", "tight"):
        for micro_batch in _halvings(plan.batch):
            tried = _costed(replace(plan, micro_batch=micro_batch, allocator=allocator), survey, budget)
            if budget.memory is None or tried.cost.peak_bytes <= budget.memory:
                if knobs.micro_batch:  # as the person wants it; the governor answers for what does not fit
                    tried = _costed(replace(tried, micro_batch=plan.micro_batch), survey, budget)
                return _on_time(tried, survey, budget)
    least = _costed(replace(plan, micro_batch=1, allocator="tight"), survey, budget)
    assert budget.memory is not None
    return Refused(
        least, f"needs {format_bytes(least.cost.peak_bytes)} at the least, the budget has {format_bytes(budget.memory)}"
    )


def _halvings(batch: int) -> list[int]:
    sizes = [batch]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // 2))
    return sizes


def _on_time(plan: Plan, survey: Survey, budget: Budget) -> Plan | Refused:
    least = _LEAST_STEPS if METHODS[plan.method].uses_gradients else 0
    if plan.steps < least and plan.steps < math.ceil(survey.rows / plan.batch):
        have = "the budget" if budget.time is None else f"--time {format_seconds(budget.time)}"
        return Refused(plan, f"{have} leaves {plan.steps} steps, too few to learn from")
    if budget.time is not None and plan.cost.seconds > budget.time:
        return Refused(plan, f"needs {format_seconds(plan.cost.seconds)}, the budget has {format_seconds(budget.time)}")
    if budget.compute is not None and plan.cost.flops > budget.compute:
        return Refused(plan, f"computes {plan.cost.flops:.2g} operations, the budget has {budget.compute:.2g}")
    return plan


def _costed(plan: Plan, survey: Survey, budget: Budget) -> Plan:
    """Fill in steps, expectation and predicted cost."""
    plan = _with_steps(plan, survey, budget)
    method = METHODS[plan.method]
    passes = plan.steps * plan.batch / survey.rows
    expected = method.prior(plan, survey.blocks).expected(passes)
    if plan.optimizer == "adafactor":
        expected -= 0.004
    memory, terms = memory_of(plan, survey)
    return replace(plan, expected=expected, cost=Cost(memory, seconds_of(plan, survey), flops_of(plan, survey), terms))


def _with_steps(plan: Plan, survey: Survey, budget: Budget) -> Plan:
    if not METHODS[plan.method].uses_gradients:
        return replace(plan, steps=0, epochs=1.0)
    steps_per_epoch = math.ceil(survey.rows / plan.batch)
    steps = max(1, round(plan.epochs * steps_per_epoch))
    if budget.time is not None:
        fixed = seconds_of(replace(plan, steps=0), survey)
        spare = budget.time * _TIME_SHARE - fixed
        steps = min(steps, max(0, int(spare / seconds_per_step(plan, survey))))
    if budget.compute is not None:
        per_step = flops_of(replace(plan, steps=1), survey) - flops_of(replace(plan, steps=0), survey)
        spare_flops = budget.compute - flops_of(replace(plan, steps=0), survey)
        steps = min(steps, max(0, int(spare_flops / per_step)))
    return replace(plan, steps=steps, epochs=steps / steps_per_epoch)


def _trace(plan: Plan, survey: Survey) -> Trace:
    return survey.traces[trace_key(_family(plan.method), plan.dtype, plan.checkpointing)]


def live_bytes(plan: Plan, survey: Survey) -> int:
    """Activations and casts alive at the worst moment of a step at the worst batch, gradients of weights not counted."""
    trace = _trace(plan, survey)
    share = plan.last_layers / survey.blocks if plan.method == "layers" else 1.0
    forward = survey.traces[trace_key("forward", plan.dtype, False)]
    rows = trace.row_bytes * share + forward.row_bytes * (1 - share)
    return round(trace.fixed_bytes + rows * plan.micro_batch)


def memory_of(plan: Plan, survey: Survey) -> tuple[dict[str, int], dict[str, int]]:
    """Predicted bytes of the process tree by phase, and the terms of the phase `train`."""
    gradients = 4 * plan.trainable
    state = {"adamw": _ADAM_BYTES, "adafactor": _ADAFACTOR_BYTES}.get(plan.optimizer, 0)
    forward = survey.traces[trace_key("forward", plan.dtype, False)]
    live = live_bytes(plan, survey)
    kernels = (KERNEL_BYTES if gradients else _FORWARD_KERNEL_BYTES)[plan.dtype]
    terms = {
        "supervisor": survey.supervisor_bytes,
        "libraries": survey.libraries_bytes + (_ADAPTER_LIBRARY_BYTES if plan.method == "lora" else 0),
        "weights": survey.weights_bytes + (4 * plan.trainable if plan.method == "lora" else 0),
        "gradients": gradients,
        "optimizer": round(state * plan.trainable),
        "activations": live,
        "kernels": kernels,
        "slack": round((_SLACK[plan.allocator] - 1) * live),
    }
    standing = sum(terms[name] for name in ("supervisor", "libraries", "weights", "optimizer", "kernels"))
    evaluate = round(_SLACK[plan.allocator] * (forward.fixed_bytes + forward.row_bytes * plan.micro_batch))
    load = terms["supervisor"] + max(survey.import_peak_bytes, terms["libraries"] + terms["weights"])
    memory = {
        "load": load,
        "prepare": load,
        "train": sum(terms.values()) if gradients else standing + evaluate,
        "evaluate": standing + evaluate,
        "save": standing + survey.weights_bytes // 4,
    }
    return memory, terms


def flops_of(plan: Plan, survey: Survey) -> float:
    """Floating-point operations of the whole run, evaluations included."""
    forward = survey.traces[trace_key("forward", plan.dtype, False)].forward_flops
    judging = evaluations(plan, survey) * survey.validation_tokens * forward
    if not METHODS[plan.method].uses_gradients:
        return survey.epoch_tokens * forward + judging
    tokens = plan.steps * plan.batch / survey.rows * survey.epoch_tokens
    return tokens * _flops_per_token(plan, survey) + judging


def _flops_per_token(plan: Plan, survey: Survey) -> float:
    trace = _trace(plan, survey)
    share = plan.last_layers / survey.blocks if plan.method == "layers" else 1.0
    return trace.forward_flops + share * (trace.flops - trace.forward_flops)


def seconds_per_step(plan: Plan, survey: Survey) -> float:
    """Seconds for one effective batch of mean length."""
    rate = survey.flops_per_second[plan.dtype]
    trace = _trace(plan, survey)
    tokens = survey.epoch_tokens * plan.batch / survey.rows
    forward = trace.forward_flops * tokens / rate
    backward = (_flops_per_token(plan, survey) - trace.forward_flops) * tokens / (rate * _SPEED_OF_BACKWARD)
    bites = max(1.0, tokens / (plan.micro_batch * plan.max_length))
    update = plan.trainable * 2e-9
    slow = _TIGHT_SLOWDOWN if plan.allocator == "tight" else 1.0
    return slow * (forward + backward + _BITE_SECONDS * survey.blocks * bites) + update


def evaluations(plan: Plan, survey: Survey) -> int:
    """How often the validation rows are judged: about twice an epoch, never fewer than twice when training."""
    if not METHODS[plan.method].uses_gradients:
        return 1
    return max(2, min(12, round(2 * plan.steps * plan.batch / survey.rows))) + 1


def seconds_of(plan: Plan, survey: Survey) -> float:
    """Seconds from the person's command to the report on disk."""
    forward = survey.traces[trace_key("forward", plan.dtype, False)].forward_flops
    rate = survey.flops_per_second[plan.dtype]
    judging = evaluations(plan, survey) * (survey.validation_tokens * forward / rate + 0.2)
    ending = 4.0 + survey.weights_bytes / 2e8
    if not METHODS[plan.method].uses_gradients:
        return survey.seconds_so_far + 8.0 + survey.epoch_tokens * forward / rate + judging + ending
    return survey.seconds_so_far + plan.steps * seconds_per_step(plan, survey) + judging + ending


def _nearest(refused: list[Refused], budget: Budget) -> Infeasible:
    def shortfall(entry: Refused) -> tuple[float, float]:
        over = 0.0 if budget.memory is None else max(0.0, entry.plan.cost.peak_bytes / budget.memory - 1)
        late = 0.0 if budget.time is None else max(0.0, entry.plan.cost.seconds / budget.time - 1)
        return (over + late, -entry.plan.expected)

    entry = min(refused, key=shortfall)
    plan = entry.plan
    lacking_bytes = 0 if budget.memory is None else max(0, plan.cost.peak_bytes - budget.memory)
    lacking_seconds = 0.0 if budget.time is None else max(0.0, plan.cost.seconds - budget.time)
    if lacking_bytes:
        least = math.ceil(plan.cost.peak_bytes / 5_000_000) * 5_000_000
        message = (
            f"nothing fits --memory {format_bytes(budget.memory or 0)}: the least that would do is "
            f"--memory {format_bytes(least).replace(' ', '')} with {plan.name} ({format_bytes(lacking_bytes)} short)"
        )
    else:
        message = f"no plan fits the budget; the nearest is {plan.name}: {entry.reason}"
    return Infeasible(plan, lacking_bytes, lacking_seconds, message)


def rehearsed(plan: Plan, survey: Survey, budget: Budget, measured: dict[str, Any]) -> Plan:
    """The plan with what a rehearsal measured in the place of what was traced.

    `measured`: `memory_bytes` by phase, `terms`, `seconds_per_token` of a training step at typical batches.
    """
    if METHODS[plan.method].uses_gradients:
        estimate = seconds_per_step(plan, survey)
        per_step = measured["seconds_per_token"] * survey.epoch_tokens * plan.batch / survey.rows
        rate = {plan.dtype: survey.flops_per_second[plan.dtype] * estimate / per_step}
    else:
        rate = {plan.dtype: _trace(plan, survey).forward_flops / measured["seconds_per_token"]}
    seen = replace(survey, flops_per_second=survey.flops_per_second | rate, seconds_so_far=measured["seconds_so_far"])
    wanted = replace(plan, epochs=measured["epochs"])
    # update and overheads do not scale with the rate: settle the steps against the measured seconds directly
    stepped = _with_steps(wanted, seen, budget)
    cost = Cost(measured["memory_bytes"], seconds_of(stepped, seen), flops_of(stepped, seen), measured["terms"])
    passes = stepped.steps * plan.batch / survey.rows
    return replace(stepped, cost=cost, expected=METHODS[plan.method].prior(plan, survey.blocks).expected(passes))
