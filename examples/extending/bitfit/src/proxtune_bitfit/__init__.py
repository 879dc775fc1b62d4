"""bitfit: train the biases and the classification head, and freeze every other weight.

Ben Zaken, Goldberg and Ravfogel: BitFit, ACL 2022, https://arxiv.org/abs/2106.10199.
"""

from __future__ import annotations

from typing import Any

from proxtune.config.plan import Plan
from proxtune.methods.base import Method, MethodCost, Prior, unchanged
from proxtune.models.facts import ModelFacts
from proxtune.models.introspection import blocks_of


def _prepare(model: Any, plan: Plan) -> Any:
    blocks_name, _ = blocks_of(model)
    after_blocks = False
    for name, parameter in model.named_parameters():  # in the order of the forward pass: embeddings, blocks, head
        in_block = name.startswith(f"{blocks_name}.")
        after_blocks = after_blocks or in_block
        parameter.requires_grad_(name.endswith("bias") if in_block else after_blocks)
    return model


def _count_trainable(plan: Plan, facts: ModelFacts) -> int:
    """What the planner expects; the dry run replaces it by the true count."""
    head = facts.parameters - facts.embedding_parameters - facts.block_parameters
    return (
        head + facts.blocks * 11 * facts.width
    )  # the biases of a BERT block, its feed-forward layer four times as wide


METHOD = Method(
    name="bitfit",
    cost=MethodCost(trace_family="bitfit", count_trainable=_count_trainable),
    learns_by="gradients",
    learning_rate=1e-3,
    variants=lambda blocks, knobs: [{}],
    prepare=_prepare,
    finish=unchanged,
    prior=lambda plan, blocks: Prior(ceiling=0.95, gap=0.12, decay_epochs=1.0),
)
