"""The planner: candidates → costs → those that fit → ranked → a `Plan`, or `Infeasible` naming the nearest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from proxtune.config.budget import Budget, format_bytes, format_seconds
from proxtune.config.plan import Cost, Infeasible, Plan, Refused
from proxtune.config.recipe import Knobs
from proxtune.errors import UserError
from proxtune.memory.devices.calibration import Calibration
from proxtune.methods.registry import AUTO, all_methods, find_method
from proxtune.planning.candidates import candidates
from proxtune.planning.cost_model import (
    LEAST_HEAD_ROWS,
    flops_of,
    head_rows_within,
    memory_of,
    seconds_of,
    seconds_per_step,
    trace_of,
    trainable_parameters,
    validation_rows_within,
)
from proxtune.planning.learning_curves import Lap
from proxtune.planning.profile import Profile

_UNSURE, _SURE_AFTER_STEPS = 0.35, 15.0  # a new head guesses: 25 steps of all blocks came to 0.75, 50 to 0.82
_ADAFACTOR_LOSS = 0.004  # of expected quality, beside AdamW
# Of the time that is left, for the head that steps begin with: by neighbours it teaches most; by gradients one of several.
_HEAD_SHARE, _HEAD_SHARES_BEFORE_GRADIENTS = 0.3, (0.03, 0.15, 0.3, 0.5, 0.75)
# What a head lacks that is fitted to few rows of each class: of banking77's 77, 24 rows each came to 0.76 and 117 to 0.91; of the
# film reviews' 2, 750 each came to 0.71, as all did.
_FEW_ROWS_LOSS, _ROWS_OF_A_CLASS = 0.3, 60.0
# How much sooner steps pay that begin at a head, as a share of the passes that they take else: of 2 classes two thirds of the gap
# were closed after 60 steps of all blocks, of 77 nothing was gained in the first hundred (docs/decisions.md, 2026-11-29).
_SOONER, _SOONER_LESS_BY_CLASS = 0.3, 0.01
_FEATURES_SHARE = 0.5  # of the memory that evaluation leaves free, for the features that a head is fitted to
_TIME_SHARE = 0.93  # the rest is for a machine that slows down


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What the planner found: the best plan (or why none fits), and every candidate with its fate, best first."""

    plan: Plan | None
    infeasible: Infeasible | None
    fitting: list[Plan]
    refused: list[Refused]
    laps: tuple[Lap, ...] = ()  # of a race, where there was one


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a dry run measured of a plan: bytes by phase, the terms of `train`, seconds for each token of a training step at
    typical batches; with the seconds that the run has used by then, and the epochs that are wanted.
    """

    memory_bytes: dict[str, int]
    terms: dict[str, int]
    seconds_per_token: float
    seconds_so_far: float
    epochs: float


def choose(profile: Profile, budget: Budget, knobs: Knobs, method: str = AUTO) -> Selection:
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
        return Selection(plan=fitting[0], infeasible=None, fitting=fitting, refused=refused)
    if not refused and method == _method_without_steps():
        raise UserError("this model learns by gradients alone, and there is no memory for any; give more --memory")
    if not refused:  # the forward pass alone was traced, and the method needs gradients
        return choose(profile, budget, replace(knobs, checkpointing=None), _method_without_steps())
    nearest = _nearest(refused, budget, profile.calibration)
    return Selection(plan=None, infeasible=nearest, fitting=[], refused=refused)


def _method_without_steps() -> str:
    """The method that needs least: it makes no steps."""
    return next(name for name, method in all_methods().items() if not method.makes_steps)


def fit(plan: Plan, profile: Profile, budget: Budget, knobs: Knobs) -> Plan | Refused:
    """The plan with the largest micro-batch and the most epochs that fit, or why there is none.

    Where that makes too few steps, of half the batch, and half of that.
    """
    plan = replace(plan, validation_rows=validation_rows_within(budget.time, plan, profile))
    fitted, traits = _fitted(plan, profile, budget, knobs), profile.traits
    while knobs.batch is None and plan.batch > traits.least_batch:
        tried = fitted.plan if isinstance(fitted, Refused) else fitted
        if tried.steps >= traits.few_steps:
            break
        batch = max(plan.batch // 2, traits.least_batch)
        plan = replace(plan, batch=batch, micro_batch=min(plan.micro_batch, batch))
        fitted = _fitted(plan, profile, budget, knobs)
    return fitted


def _fitted(plan: Plan, profile: Profile, budget: Budget, knobs: Knobs) -> Plan | Refused:
    plan = _narrowed(plan, profile, budget, knobs)
    if budget.trainable is not None and plan.trainable > budget.trainable:
        return Refused(
            _costed(plan, profile, budget),
            f"trains {plan.trainable:,} parameters, --trainable allows {budget.trainable:,}",
        )
    if profile.has_size_limit and not find_method(plan.method).supports_size_limit:
        return Refused(
            _costed(plan, profile, budget),
            "what it merges into the weights at the end leaves the models that --size allows; full and layers stay in them",
        )
    most = plan.evaluated
    if profile.traits.micro_batch_tokens is not None:
        most = min(most, max(1, profile.traits.micro_batch_tokens // plan.max_length))
    for allocator in profile.device.allocators:
        for micro_batch in _halvings(most):
            tried = _costed(replace(plan, micro_batch=micro_batch, allocator=allocator), profile, budget)
            if budget.memory is None or tried.cost.peak_bytes <= budget.memory:
                if knobs.micro_batch:  # as the user wants it; the governor answers for what does not fit
                    tried = _costed(replace(tried, micro_batch=plan.micro_batch), profile, budget)
                return _on_time(tried, profile, budget, knobs)
    least = _costed(replace(plan, micro_batch=1, allocator=allocator), profile, budget)
    assert budget.memory is not None
    return Refused(
        least, f"needs {format_bytes(least.cost.peak_bytes)} at least; the budget is {format_bytes(budget.memory)}"
    )


def _narrowed(plan: Plan, profile: Profile, budget: Budget, knobs: Knobs) -> Plan:
    """The plan with the largest rank that trains no more than the budget allows, at least one; where ranks are free to choose."""
    if plan.rank != max(
        variant.get("rank", 0) for variant in find_method(plan.method).variants(profile.model.blocks, knobs)
    ):
        return plan  # of several ranks the largest gives way
    if budget.trainable is None or not plan.rank or knobs.rank is not None or plan.trainable <= budget.trainable:
        return plan
    rank = max(1, (budget.trainable - profile.model.head_parameters) // max(1, profile.model.rank_parameters))
    narrow = replace(plan, rank=min(plan.rank, rank))
    return replace(narrow, trainable=trainable_parameters(narrow, profile))


def _halvings(batch: int) -> list[int]:
    sizes = [batch]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // 2))
    return sizes


def _on_time(plan: Plan, profile: Profile, budget: Budget, knobs: Knobs) -> Plan | Refused:
    wanted_steps = steps_of(plan, profile, knobs.epochs)  # a user who asks for few steps gets them
    method = find_method(plan.method)
    least = min(method.least_steps, wanted_steps) if method.makes_steps else 0
    if plan.steps < least and plan.steps < math.ceil(profile.rows / plan.batch):
        few = f"{plan.steps} steps, too few to train on"
        needed_seconds = seconds_of(replace(plan, steps=least), profile)
        if budget.time is None or needed_seconds <= _TIME_SHARE * budget.time:  # it is operations that are short
            return Refused(plan, f"the budget leaves {few}")
        have = f"--time {format_seconds(budget.time)}"
        return Refused(plan, f"{have} leaves {few}; give --time {least_time(needed_seconds)}")
    if budget.time is not None and plan.cost.seconds > budget.time:
        return Refused(plan, f"needs {format_seconds(plan.cost.seconds)}, the budget has {format_seconds(budget.time)}")
    if budget.compute is not None and plan.cost.flops > budget.compute:
        return Refused(plan, f"computes {plan.cost.flops:.2g} operations, the budget has {budget.compute:.2g}")
    return plan


def least_time(needed_seconds: float) -> str:
    """What to give as `--time` for what takes so many seconds, a little rounded up.

    Examples
    --------
    >>> least_time(25.0)
    '30s'
    """
    return f"{5 * math.ceil(needed_seconds / _TIME_SHARE / 5)}s"


def _costed(plan: Plan, profile: Profile, budget: Budget) -> Plan:
    """Fill in steps, expectation and predicted cost."""
    plan = _with_steps(plan, profile, budget)
    memory, terms = memory_of(plan, profile)
    cost = Cost(memory_bytes=memory, seconds=seconds_of(plan, profile), flops=flops_of(plan, profile), terms=terms)
    return replace(plan, expected=_expected(plan, profile), cost=cost)


def _expected(plan: Plan, profile: Profile) -> float:
    """The quality that a plan's method is known for after as many passes, on a scale where the best reaches 1."""
    method, blocks, base_quality = find_method(plan.method), profile.model.blocks, profile.traits.base_quality
    prior = method.prior(plan, blocks)
    if base_quality is not None:  # every way begins at the base model, which knows something already
        prior = (method.base_model_prior or method.prior)(plan, blocks)
        prior = replace(prior, gap=prior.ceiling - base_quality)
    elif method.uses_gradients and plan.head_rows:
        sooner = min(1.0, _SOONER + _SOONER_LESS_BY_CLASS * profile.classes)
        gap = prior.ceiling - _head_expected(plan, profile)
        prior = replace(prior, gap=gap, decay_epochs=sooner * prior.decay_epochs)
    elif not method.makes_steps:
        return _head_expected(plan, profile)
    known = prior.expected(plan.steps * plan.batch / profile.rows) - method.expected_loss(plan)
    if method.uses_gradients and profile.traits.new_head and not plan.head_rows:
        known -= _UNSURE * math.exp(-plan.steps / _SURE_AFTER_STEPS)
    return known - (_ADAFACTOR_LOSS if plan.optimizer == "adafactor" else 0.0)


def _head_expected(plan: Plan, profile: Profile) -> float:
    """The same of the head that a plan fits, before any step."""
    ceiling = find_method(_method_without_steps()).prior(plan, profile.model.blocks).ceiling
    return ceiling - _FEW_ROWS_LOSS * math.exp(-plan.head_rows / (_ROWS_OF_A_CLASS * max(1, profile.classes)))


def steps_of(plan: Plan, profile: Profile, epochs: float | None) -> int:
    """Steps in `epochs` passes over the rows, the most that pay where it is None."""
    return max(1, round((epochs or find_method(plan.method).epochs) * math.ceil(profile.rows / plan.batch)))


def _with_steps(plan: Plan, profile: Profile, budget: Budget) -> Plan:
    """The plan with the head and the steps that it is best to spend the time on."""
    begun = [_paced(replace(plan, head_rows=rows), profile, budget) for rows in _head_rows(plan, profile, budget)]
    least = find_method(plan.method).least_steps
    return max(begun, key=lambda each: (min(each.steps, least), _expected(each, profile)))


def _paced(plan: Plan, profile: Profile, budget: Budget) -> Plan:
    """As many steps as the epochs that are wanted have, or as time and operations allow."""
    if not find_method(plan.method).makes_steps:
        return replace(plan, steps=0, epochs=plan.head_rows / profile.rows)
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


def _head_rows(plan: Plan, profile: Profile, budget: Budget) -> list[int]:
    """How many rows a classification layer may be fitted to, in shares of the time and of the memory; 0 where none is fitted."""
    method = find_method(plan.method)
    if not method.fits_head(profile.traits):
        return [0]
    if budget.time is None:
        seconds = [math.inf]
    elif method.makes_steps:
        shares = _HEAD_SHARES_BEFORE_GRADIENTS if method.uses_gradients else [_HEAD_SHARE]
        seconds = [share * (budget.time - profile.seconds_so_far) for share in shares]
    else:
        seconds = [_TIME_SHARE * budget.time - seconds_of(replace(plan, head_rows=0, steps=0), profile)]
    held = profile.rows
    if budget.memory is not None:
        free = budget.memory - memory_of(replace(plan, head_rows=0), profile)[0]["evaluate"]
        held = min(held, max(LEAST_HEAD_ROWS, int(_FEATURES_SHARE * free / (4 * profile.model.width))))
    return [min(held, head_rows_within(each, plan, profile)) for each in seconds]


def none_fits(
    choice: Selection, refused_in_dry_run: list[Refused], budget: Budget, calibration: Calibration
) -> Selection:
    """The choice when no candidate passed its dry run: all of them refused, `choice.fitting` untried, the nearest named."""
    untried = [Refused(plan, "not tried: the better ones did not fit") for plan in choice.fitting]
    beyond = [entry for entry in refused_in_dry_run + choice.refused if entry.plan.cost.peak_bytes > _room(budget)]
    if beyond:
        nearest = _nearest(beyond, budget, calibration)
    else:  # no dry run came so far as to say what would do
        last = refused_in_dry_run[-1]
        given = "this machine" if budget.memory is None else f"--memory {format_bytes(budget.memory)}"
        message = f"nothing fits {given} in a dry run; the last one tried is {last.plan.name} ({last.reason})"
        nearest = Infeasible(last.plan, 0, 0.0, message)
    refused = refused_in_dry_run + untried + choice.refused
    return Selection(plan=None, infeasible=nearest, fitting=[], refused=refused)


def _room(budget: Budget) -> float:
    return math.inf if budget.memory is None else budget.memory


def _nearest(refused: list[Refused], budget: Budget, calibration: Calibration) -> Infeasible:
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
            f"nothing fits --trainable {budget.trainable:,}; the smallest plan needs --trainable {plan.trainable} "
            f"({plan.name})"
        )
    elif lacking_bytes:
        least = math.ceil((plan.cost.peak_bytes + calibration.profiles_differ_bytes) / 5_000_000) * 5_000_000
        message = (
            f"nothing fits in {format_bytes(budget.memory or 0)}; the smallest plan needs "
            f"--memory {format_bytes(least).replace(' ', '')} ({plan.name})"
        )
    else:
        message = f"no plan fits the budget; the nearest is {plan.name}: {entry.reason}"
    return Infeasible(plan, lacking_bytes, lacking_seconds, message)


def with_measurements(plan: Plan, profile: Profile, budget: Budget, measured: Measured) -> Plan:
    """The plan with what a dry run measured in the place of what was traced."""
    if find_method(plan.method).makes_steps:
        estimate = seconds_per_step(plan, profile)
        per_step = measured.seconds_per_token * profile.epoch_tokens * plan.batch / profile.rows
        rate = {plan.dtype: profile.flops_per_second[plan.dtype] * estimate / per_step}
    else:
        rate = {plan.dtype: trace_of(plan, profile).forward_flops / measured.seconds_per_token}
    seen = replace(
        profile, flops_per_second={**profile.flops_per_second, **rate}, seconds_so_far=measured.seconds_so_far
    )
    wanted = replace(plan, epochs=measured.epochs)
    # update and overheads do not scale with the rate: settle the steps against the measured seconds directly
    stepped = _with_steps(wanted, seen, budget)
    cost = Cost(
        memory_bytes=measured.memory_bytes,
        seconds=seconds_of(stepped, seen),
        flops=flops_of(stepped, seen),
        terms=measured.terms,
    )
    return replace(stepped, cost=cost, expected=_expected(stepped, profile))
