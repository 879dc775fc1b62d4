"""layers: the last n blocks and what follows them learn; embeddings and earlier blocks stay.

With all blocks chosen this is full fine-tuning less the embeddings, which hold half the weights of a small model and
learn little from a small data set.
"""

from __future__ import annotations

import math
from typing import Any

from proxtune.config.plan import Plan
from proxtune.config.recipe import Knobs
from proxtune.methods.base import Method, MethodCost, Prior, unchanged
from proxtune.models.facts import ModelFacts
from proxtune.models.introspection import blocks_of

_BASE_QUALITY = 0.895  # of a model that knows its task, as `TaskTraits.base_quality` has it


def _variants(blocks: int, knobs: Knobs) -> list[dict[str, Any]]:
    if knobs.last_layers is not None:
        return [{"last_layers": max(1, min(blocks, knobs.last_layers))}]
    counts = sorted({blocks, -(-2 * blocks // 3), -(-blocks // 3), 1}, reverse=True)
    return [{"last_layers": count} for count in counts]


def _prepare(model: Any, plan: Plan) -> Any:
    blocks = blocks_of(model)[1]
    first = len(blocks) - plan.last_layers
    block_numbers = {id(parameter): number for number, block in enumerate(blocks) for parameter in block.parameters()}
    learning = False
    for parameter in model.parameters():
        # parameters come in the order of the forward pass: what follows the first learning block learns too
        number = block_numbers.get(id(parameter))
        learning = learning if number is None else number >= first
        parameter.requires_grad_(learning)
    return model


def _prior(plan: Plan, blocks: int) -> Prior:
    """One of MiniLM's six blocks came to 0.83 on the film reviews in the time in which all came to 0.85 and could go on."""
    share = plan.last_layers / blocks
    return Prior(ceiling=0.94 + 0.058 * share, gap=0.10, decay_epochs=0.8)


def _base_model_prior(plan: Plan, blocks: int) -> Prior:
    """Of a generator's loss the last blocks take off as much in a step as the root of their share of all.

    SmolLM2, 16 steps of 8 English sentences and their French: one block of 30 took off 0.09, ten took off 0.32, all weights 0.62
    (docs/decisions.md, 2026-11-30).
    """
    return Prior(ceiling=_BASE_QUALITY + 0.103 * math.sqrt(plan.last_layers / blocks), gap=0.1, decay_epochs=0.9)


def _lr_scale(plan: Plan, blocks: int) -> float:
    """The fewer learn, the further each must go: of MiniLM's 6, one learned best at 5 to 10 times the rate of all, two at 5."""
    return min(10.0, (blocks / plan.last_layers) ** 1.3)


def _count_trainable(plan: Plan, facts: ModelFacts) -> int:
    after_blocks = facts.parameters - facts.embedding_parameters - facts.block_parameters
    return facts.block_parameters * plan.last_layers // facts.blocks + after_blocks


METHOD = Method(
    name="layers",
    cost=MethodCost(
        trace_family="layers",
        count_trainable=_count_trainable,
        backward_share=lambda plan, facts: plan.last_layers / facts.blocks,
    ),
    learns_by="gradients",
    learning_rate=1e-4,
    variants=_variants,
    prepare=_prepare,
    finish=unchanged,
    prior=_prior,
    base_model_prior=_base_model_prior,
    lr_scale=_lr_scale,
    trains_everything=lambda plan, blocks: plan.last_layers == blocks,
)
