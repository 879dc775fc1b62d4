"""nno: neighbourhood search over the last blocks' linear layers, in the memory of inference. No gradient is taken.

The blocks before them answer alike at every neighbour: rows pass through them once (`models/prefix_cache.py`).

It begins with `probe`'s head, fitted to as many rows as the time allows (`head_rows`), or with a decoder's own words for the
labels where those know better: a row that a head is fitted to passes once, one of a step at every neighbour. Weights are held in
the plan's dtype: in bf16 half the bytes, and the update is rounded at random so that none of it is lost.
"""

from __future__ import annotations

from typing import Any

from proxtune.config.plan import Plan
from proxtune.config.recipe import Knobs
from proxtune.methods.base import HELD_FORWARD, Method, MethodCost, Prior, unchanged

_NEIGHBOURS = 14  # with θ and the point before, 16 points


def _prepare(model: Any, plan: Plan) -> Any:
    import torch

    from proxtune.models.introspection import blocks_of

    model.requires_grad_(False)
    blocks = blocks_of(model)[1]
    for module in blocks[len(blocks) - plan.last_layers :].modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.requires_grad_(True)
    return model


def _variants(blocks: int, knobs: Knobs) -> list[dict[str, Any]]:
    last = min(blocks, knobs.last_layers or -(-2 * blocks // 3))
    return [{"neighbours": _NEIGHBOURS, "last_layers": last}]


METHOD = Method(
    name="nno",
    cost=MethodCost(
        trace_family=HELD_FORWARD,
        count_trainable=lambda plan, facts: facts.linear_parameters * plan.last_layers // facts.blocks,
        kernel_bytes=lambda plan, traits, calibration: calibration.neighbour_kernel_bytes[plan.dtype],
        update_seconds=lambda calibration: calibration.neighbour_update_seconds,
    ),
    learns_by="neighbours",
    learning_rate=0.0,
    variants=_variants,
    prepare=_prepare,
    finish=unchanged,
    prior=lambda plan, blocks: Prior(ceiling=0.85, gap=0.10, decay_epochs=0.3),
    applies=lambda facts: facts.linear_parameters > 0,
    epochs=1.0,
    least_steps=5,  # of some hundred sequences each, from a model that knows something already
    batch=16,
    warm_up=0.0,
)
