"""The planner: candidates → costs → those that fit → ranked → a `Plan`, or `Infeasible` naming the nearest."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, replace
from typing import Any

from proxtune.config.budget import Budget, format_bytes, format_seconds
from proxtune.config.plan import Cost, Infeasible, Plan, Refused
from proxtune.config.recipe import Knobs
from proxtune.methods.base import Prior
from proxtune.methods.registry import METHODS
from proxtune.planning.candidates import candidates
from proxtune.planning.cost_model import (
    flops_of,
    head_rows_within,
    memory_of,
    seconds_of,
    seconds_per_step,
    trace_of,
    trainable_parameters,
)
from proxtune.planning.profile import Profile

# Adapters learn to answer nearly as well as all weights, step for step (Biderman et al., LoRA Learns Less …, 2024).
_GENERATION_PRIOR, _LARGE_RANK = Prior(ceiling=0.995, gap=0.10, decay_epochs=0.9), 8  # of a smaller rank 0.01 less
_BASE_MODEL_EXPECTED = 0.895  # what is expected of answers before the first step
_CODES_LOSS = {"int8": 0.002, "int4": 0.01}  # of expected quality, beside weights that are not codes
_ENOUGH_TOKENS = 1024  # of a micro-batch of text generation: more of them at a time are no faster
# Where that leaves few steps, half of it: in 150 seconds SmolLM2 came to chrF 24.3 in 28 steps and to 30.6 in twice as many.
_FEW_STEPS, _FEW_STEPS_BATCH = 100, 8  # before a rehearsal twice the steps may seem possible
_UNSURE, _SURE_AFTER_STEPS = 0.35, 15.0  # a new head guesses: 25 steps of all blocks came to 0.75, 50 to 0.82
_ADAFACTOR_LOSS = 0.004  # of expected quality, beside AdamW
_PROFILES_DIFFER_BYTES = 10_000_000  # by less than that, when two are made of the same things
_HEAD_SHARE = 0.3  # of the time that is left: for the head that `nno` begins with, which teaches most at first
_TIME_SHARE = 0.93  # the rest is for a machine that slows down


@dataclass(frozen=True, slots=True)
class Selection:
    """What the planner found: the best plan (or why none fits), and every candidate with its fate, best first."""

    plan: Plan | None
    infeasible: Infeasible | None
    fitting: list[Plan]
    refused: list[Refused]


def choose(profile: Profile, budget: Budget, knobs: Knobs, method: str = "auto") -> Selection:
    """The plan with the best expected result among those that fit the whole budget."""
    fitting: list[Plan] = []
    refused: list[Refused] = []
    for candidate in candidates(profile, knobs, method):
        fitted = fit(candidate, profile, budget, knobs)
        if isinstance(fitted, Plan):
            fitting += [] if fitted in fitting else [fitted]  # a rank that gave way may come to another's
        else:
            refused.append(fitted)
    fitting.sort(key=lambda plan: -plan.expected)
    if fitting:
        return Selection(fitting[0], None, fitting, refused)
    if not refused:  # the forward pass alone was traced, and the method needs gradients
        return choose(profile, budget, dataclasses.replace(knobs, checkpointing=None), "probe")
    return Selection(None, _nearest(refused, budget), [], refused)


def fit(plan: Plan, profile: Profile, budget: Budget, knobs: Knobs) -> Plan | Refused:
    """The plan with the largest micro-batch and the most epochs that fit, or why there is none."""
    fitted = _fitted(plan, profile, budget, knobs)
    if profile.generates and knobs.batch is None and plan.batch > _FEW_STEPS_BATCH:
        tried = fitted.plan if isinstance(fitted, Refused) else fitted
        if tried.steps < _FEW_STEPS:
            few = min(plan.micro_batch, _FEW_STEPS_BATCH)
            return _fitted(replace(plan, batch=_FEW_STEPS_BATCH, micro_batch=few), profile, budget, knobs)
    return fitted


def _fitted(plan: Plan, profile: Profile, budget: Budget, knobs: Knobs) -> Plan | Refused:
    plan = _narrowed(plan, profile, budget, knobs)
    if budget.trainable is not None and plan.trainable > budget.trainable:
        return Refused(
            _costed(plan, profile, budget),
            f"trains {plan.trainable:,} parameters, --trainable allows {budget.trainable:,}",
        )
    if profile.has_size_limit and not METHODS[plan.method].supports_size_limit:
        return Refused(
            _costed(plan, profile, budget),
            "what it merges into the weights at the end leaves the models that --size allows; full and layers stay in them",
        )
    most = plan.evaluated
    if profile.generates:
        most = min(most, max(1, _ENOUGH_TOKENS // plan.max_length))
    for allocator in ("fast", "tight") if profile.device == "cpu" else ("fast",):
        for micro_batch in _halvings(most):
            tried = _costed(replace(plan, micro_batch=micro_batch, allocator=allocator), profile, budget)
            if budget.memory is None or tried.cost.peak_bytes <= budget.memory:
                if knobs.micro_batch:  # as the person wants it; the governor answers for what does not fit
                    tried = _costed(replace(tried, micro_batch=plan.micro_batch), profile, budget)
                return _on_time(tried, profile, budget, knobs)
    least = _costed(replace(plan, micro_batch=1, allocator=allocator), profile, budget)
    assert budget.memory is not None
    return Refused(
        least, f"needs {format_bytes(least.cost.peak_bytes)} at the least, the budget has {format_bytes(budget.memory)}"
    )


def _narrowed(plan: Plan, profile: Profile, budget: Budget, knobs: Knobs) -> Plan:
    """The plan with the largest rank that trains no more than the budget allows, at least one; where ranks are free to choose."""
    if plan.rank != max(variant.get("rank", 0) for variant in METHODS[plan.method].variants(profile.blocks, knobs)):
        return plan  # of several ranks the largest gives way
    if budget.trainable is None or not plan.rank or knobs.rank is not None or plan.trainable <= budget.trainable:
        return plan
    rank = max(1, (budget.trainable - profile.head_parameters) // max(1, profile.rank_parameters))
    narrow = replace(plan, rank=min(plan.rank, rank))
    return replace(narrow, trainable=trainable_parameters(narrow, profile))


def _halvings(batch: int) -> list[int]:
    sizes = [batch]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // 2))
    return sizes


def _on_time(plan: Plan, profile: Profile, budget: Budget, knobs: Knobs) -> Plan | Refused:
    wanted_steps = steps_of(plan, profile, knobs.epochs)  # a person who asks for few steps gets them
    method = METHODS[plan.method]
    least = min(method.least_steps, wanted_steps) if method.makes_steps else 0
    if plan.steps < least and plan.steps < math.ceil(profile.rows / plan.batch):
        have = "the budget" if budget.time is None else f"--time {format_seconds(budget.time)}"
        return Refused(plan, f"{have} leaves {plan.steps} steps, too few to learn from")
    if budget.time is not None and plan.cost.seconds > budget.time:
        return Refused(plan, f"needs {format_seconds(plan.cost.seconds)}, the budget has {format_seconds(budget.time)}")
    if budget.compute is not None and plan.cost.flops > budget.compute:
        return Refused(plan, f"computes {plan.cost.flops:.2g} operations, the budget has {budget.compute:.2g}")
    return plan


def _costed(plan: Plan, profile: Profile, budget: Budget) -> Plan:
    """Fill in steps, expectation and predicted cost."""
    plan = _with_steps(plan, profile, budget)
    memory, terms = memory_of(plan, profile)
    cost = Cost(memory, seconds_of(plan, profile), flops_of(plan, profile), terms)
    return replace(plan, expected=_expected(plan, profile), cost=cost)


def _expected(plan: Plan, profile: Profile) -> float:
    """The quality that a plan's method is known for after as many passes, on a scale where the best reaches 1."""
    passes = plan.steps * plan.batch / profile.rows
    prior = _generation_prior(plan, profile) if profile.generates else METHODS[plan.method].prior(plan, profile.blocks)
    known = prior.expected(passes) - _CODES_LOSS.get(plan.base_dtype, 0.0)
    if METHODS[plan.method].uses_gradients and not profile.generates:
        known -= _UNSURE * math.exp(-plan.steps / _SURE_AFTER_STEPS)
    return known - (_ADAFACTOR_LOSS if plan.optimizer == "adafactor" else 0.0)


def _generation_prior(plan: Plan, profile: Profile) -> Prior:
    """Where text is generated every way begins at the untouched model, which answers already."""
    prior = METHODS[plan.method].prior(plan, profile.blocks)
    if plan.method == "lora":
        prior = replace(_GENERATION_PRIOR, ceiling=_GENERATION_PRIOR.ceiling - (0.0 if plan.rank >= _LARGE_RANK else 0.01))
    return replace(prior, gap=prior.ceiling - _BASE_MODEL_EXPECTED)


def steps_of(plan: Plan, profile: Profile, epochs: float | None) -> int:
    """Steps in `epochs` passes over the rows, the most that pay where it is None."""
    return max(1, round((epochs or METHODS[plan.method].epochs) * math.ceil(profile.rows / plan.batch)))


def _with_steps(plan: Plan, profile: Profile, budget: Budget) -> Plan:
    if not METHODS[plan.method].makes_steps:
        return replace(plan, steps=0, epochs=1.0)
    if plan.neighbours:
        seconds = math.inf if budget.time is None else _HEAD_SHARE * (budget.time - profile.seconds_so_far)
        plan = replace(plan, head_rows=head_rows_within(seconds, plan, profile))
    steps_per_epoch = math.ceil(profile.rows / plan.batch)
    steps = steps_of(plan, profile, plan.epochs)
    if budget.time is not None:
        fixed = seconds_of(replace(plan, steps=0), profile)
        spare = budget.time * _TIME_SHARE - fixed
        steps = min(steps, max(0, int(spare / seconds_per_step(plan, profile))))
    if budget.compute is not None:
        per_step = flops_of(replace(plan, steps=1), profile) - flops_of(replace(plan, steps=0), profile)
        spare_flops = budget.compute - flops_of(replace(plan, steps=0), profile)
        steps = min(steps, max(0, int(spare_flops / per_step)))
    return replace(plan, steps=steps, epochs=steps / steps_per_epoch)


def none_fits(choice: Selection, refused_in_dry_run: list[Refused], budget: Budget) -> Selection:
    """The choice when no candidate passed its rehearsal: all of them refused, `choice.fitting` untried, the nearest named."""
    untried = [Refused(plan, "not rehearsed: the better ones did not fit") for plan in choice.fitting]
    beyond = [entry for entry in refused_in_dry_run + choice.refused if entry.plan.cost.peak_bytes > _room(budget)]
    if beyond:
        nearest = _nearest(beyond, budget)
    else:  # no rehearsal came so far as to say what would do
        last = refused_in_dry_run[-1]
        given = "this machine" if budget.memory is None else f"--memory {format_bytes(budget.memory)}"
        message = f"nothing fits {given} once rehearsed; the last that was tried is {last.plan.name} ({last.reason})"
        nearest = Infeasible(last.plan, 0, 0.0, message)
    return Selection(None, nearest, [], refused_in_dry_run + untried + choice.refused)


def _room(budget: Budget) -> float:
    return math.inf if budget.memory is None else budget.memory


def _nearest(refused: list[Refused], budget: Budget) -> Infeasible:
    def shortfall(entry: Refused) -> tuple[float, float]:
        over = 0.0 if budget.memory is None else max(0.0, entry.plan.cost.peak_bytes / budget.memory - 1)
        late = 0.0 if budget.time is None else max(0.0, entry.plan.cost.seconds / budget.time - 1)
        many = 0.0 if budget.trainable is None else max(0.0, entry.plan.trainable / budget.trainable - 1)
        return (over + late + many, -entry.plan.expected)

    entry = min(refused, key=shortfall)
    plan = entry.plan
    lacking_bytes = 0 if budget.memory is None else max(0, plan.cost.peak_bytes - budget.memory)
    lacking_seconds = 0.0 if budget.time is None else max(0.0, plan.cost.seconds - budget.time)
    if budget.trainable is not None and plan.trainable > budget.trainable:
        message = (
            f"nothing fits --trainable {budget.trainable:,}: the least that would do is --trainable {plan.trainable} "
            f"with {plan.name}"
        )
    elif lacking_bytes:
        least = math.ceil((plan.cost.peak_bytes + _PROFILES_DIFFER_BYTES) / 5_000_000) * 5_000_000
        message = (
            f"nothing fits --memory {format_bytes(budget.memory or 0)}: the least that would do is "
            f"--memory {format_bytes(least).replace(' ', '')} with {plan.name} ({format_bytes(lacking_bytes)} short)"
        )
    else:
        message = f"no plan fits the budget; the nearest is {plan.name}: {entry.reason}"
    return Infeasible(plan, lacking_bytes, lacking_seconds, message)


def with_measurements(plan: Plan, profile: Profile, budget: Budget, measured: dict[str, Any]) -> Plan:
    """The plan with what a rehearsal measured in the place of what was traced.

    `measured`: `memory_bytes` by phase, `terms`, `seconds_per_token` of a training step at typical batches.
    """
    if METHODS[plan.method].makes_steps:
        estimate = seconds_per_step(plan, profile)
        per_step = measured["seconds_per_token"] * profile.epoch_tokens * plan.batch / profile.rows
        rate = {plan.dtype: profile.flops_per_second[plan.dtype] * estimate / per_step}
    else:
        rate = {plan.dtype: trace_of(plan, profile).forward_flops / measured["seconds_per_token"]}
    seen = replace(profile, flops_per_second=profile.flops_per_second | rate, seconds_so_far=measured["seconds_so_far"])
    wanted = replace(plan, epochs=measured["epochs"])
    # update and overheads do not scale with the rate: settle the steps against the measured seconds directly
    stepped = _with_steps(wanted, seen, budget)
    cost = Cost(measured["memory_bytes"], seconds_of(stepped, seen), flops_of(stepped, seen), measured["terms"])
    return replace(stepped, cost=cost, expected=_expected(stepped, profile))
