"""full: every weight learns."""

from __future__ import annotations

from typing import Any

from proxtune.config.plan import Plan
from proxtune.methods.base import Method, MethodCost, Prior, unchanged


def _prepare(model: Any, plan: Plan) -> Any:
    model.requires_grad_(True)
    return model


METHOD = Method(
    name="full",
    cost=MethodCost(
        trace_family="layers",  # of all blocks; the embeddings on top
        count_trainable=lambda plan, facts: facts.parameters,
        trains_embeddings=True,
    ),
    learns_by="gradients",
    learning_rate=1e-4,
    variants=lambda blocks, knobs: [{}],
    prepare=_prepare,
    finish=unchanged,
    prior=lambda plan, blocks: Prior(ceiling=1.0, gap=0.10, decay_epochs=0.9),
    trains_everything=lambda plan, blocks: True,
)
