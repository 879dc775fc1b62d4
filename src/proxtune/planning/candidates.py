"""Every plan that may be the best one, before any is costed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from proxtune.config.plan import CODE_BITS, Plan
from proxtune.config.recipe import Knobs
from proxtune.methods.base import REFERENCE_WIDTH, Method
from proxtune.methods.registry import AUTO, find_method, methods_for
from proxtune.planning.cost_model import trainable_parameters
from proxtune.planning.profile import Profile


def candidates(profile: Profile, knobs: Knobs, wanted: str = AUTO) -> Iterator[Plan]:
    """Every structure worth considering of the methods that `wanted` leaves, without batch sizes or costs."""
    for method in methods_for(wanted):
        able = method.can_learn(profile.traits) and method.applies(profile.model)
        if able and (method.supports_codes or not knobs.base_dtype):
            yield from _candidates_of(method, profile, knobs)


def _candidates_of(method: Method, profile: Profile, knobs: Knobs) -> Iterator[Plan]:
    bases = (knobs.base_dtype,) if knobs.base_dtype else ("", *CODE_BITS)
    fixed_micro_batch = None if method.counts_points else knobs.micro_batch
    usual = profile.traits.usual_batch or method.batch
    batch = min(knobs.batch or max(usual, fixed_micro_batch or 0), profile.rows)
    for variant in method.variants(profile.model.blocks, knobs):
        for dtype, checkpointing in _traced_structures(method, profile, knobs):
            plan = Plan(
                method=method.name,
                dtype=dtype,
                batch=batch,
                micro_batch=0,
                max_length=profile.max_length,
                checkpointing=checkpointing,
                optimizer=(knobs.optimizer or "adamw") if method.uses_gradients else "none",
                learning_rate=0.0,
                epochs=knobs.epochs or method.epochs,
                steps=0,
                trainable=0,
                keep_adapter=bool(knobs.keep_adapter) and method.keeps_adapter,
                **variant,
            )
            plan = replace(plan, micro_batch=min(knobs.micro_batch or plan.evaluated, plan.evaluated))
            learning_rate = knobs.learning_rate or _learning_rate(plan, profile)
            plan = replace(plan, trainable=trainable_parameters(plan, profile), learning_rate=learning_rate)
            if profile.traits.frozen_codes and method.supports_codes:
                if not knobs.stream:
                    yield from (replace(plan, base_dtype=base or dtype) for base in bases)
                if profile.can_stream and not knobs.base_dtype:
                    yield replace(plan, base_dtype=dtype, streamed=True)
                continue
            yield plan
            everything = method.trains_everything(plan, profile.model.blocks)
            if method.uses_gradients and knobs.optimizer is None and everything:
                yield replace(plan, optimizer="adafactor")


def _traced_structures(method: Method, profile: Profile, knobs: Knobs) -> Iterator[tuple[str, bool]]:
    """(dtype, checkpointing) of the method's traces that the knobs leave, and that are worth a look."""
    for key in profile.traces:
        family, dtype, *rest = key.split("/")
        checkpointing = bool(rest)
        if family != method.cost.trace_family or (knobs.dtype or dtype) != dtype:
            continue
        if method.uses_gradients and knobs.checkpointing is not None and knobs.checkpointing != checkpointing:
            continue
        if (
            knobs.checkpointing is None
            and checkpointing
            and profile.max_length < profile.calibration.checkpointing_tokens
            and not profile.traits.long_rows
        ):
            continue
        yield dtype, checkpointing


def _learning_rate(plan: Plan, profile: Profile) -> float:
    method = find_method(plan.method)
    lr_scale = method.lr_scale(plan, profile.model.blocks) if profile.traits.new_head else 1.0
    return method.learning_rate * lr_scale * min(1.0, REFERENCE_WIDTH / profile.model.width)
