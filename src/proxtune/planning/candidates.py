"""Every plan that may be the best one, before any is costed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from proxtune.config.plan import CODE_BITS, Plan
from proxtune.config.recipe import Knobs
from proxtune.methods.registry import METHODS
from proxtune.planning.cost_model import family_of, trainable_parameters
from proxtune.planning.profile import Profile

_GENERATING_BATCH = 16  # rows: an answer is many things to learn from
_LONG = 192  # tokens; in shorter rows recomputing the activations was seen to save nothing


def candidates(profile: Profile, knobs: Knobs, method: str = "auto") -> Iterator[Plan]:
    """Every structure worth considering, without batch sizes or costs."""
    bases = (knobs.base_dtype,) if knobs.base_dtype else ("", *CODE_BITS)
    for name, entry in METHODS.items():
        if knobs.base_dtype and name != "lora":
            continue
        if method not in ("auto", name) or (profile.generates and not entry.uses_gradients):
            continue
        # which counts a row once for each point
        fixed_micro_batch = knobs.micro_batch if entry.learns_by != "neighbours" else None
        usual = _GENERATING_BATCH if profile.generates else entry.batch
        batch = min(knobs.batch or max(usual, fixed_micro_batch or 0), profile.rows)
        for variant in entry.variants(profile.blocks, knobs):
            for key in profile.traces:
                family, dtype, *rest = key.split("/")
                checkpointing = bool(rest)
                if family != family_of(name) or (knobs.dtype or dtype) != dtype:
                    continue
                wanted = knobs.checkpointing
                if entry.uses_gradients and wanted is not None and wanted != checkpointing:
                    continue
                if wanted is None and checkpointing and profile.max_length < _LONG:
                    continue
                plan = Plan(
                    method=name,
                    dtype=dtype,
                    batch=batch,
                    micro_batch=0,
                    max_length=profile.max_length,
                    checkpointing=checkpointing,
                    optimizer=(knobs.optimizer or "adamw") if entry.uses_gradients else "none",
                    learning_rate=0.0,
                    epochs=knobs.epochs or entry.epochs,
                    steps=0,
                    trainable=0,
                    keep_adapter=bool(knobs.keep_adapter) and name == "lora",
                    **variant,
                )
                plan = replace(plan, micro_batch=min(knobs.micro_batch or plan.evaluated, plan.evaluated))
                learning_rate = knobs.learning_rate or _learning_rate(plan, profile)
                plan = replace(plan, trainable=trainable_parameters(plan, profile), learning_rate=learning_rate)
                if profile.generates and name == "lora":
                    yield from (replace(plan, base_dtype=base or dtype) for base in bases)
                    continue
                yield plan
                everything = name == "full" or plan.last_layers == profile.blocks
                if entry.uses_gradients and knobs.optimizer is None and name != "lora" and everything:
                    yield replace(plan, optimizer="adafactor")


def _learning_rate(plan: Plan, profile: Profile) -> float:
    method = METHODS[plan.method]
    lr_scale = 1.0 if profile.generates else method.lr_scale(plan, profile.blocks)
    return method.learning_rate * lr_scale * min(1.0, 384 / profile.width)
