"""What a method is: the contract that every file in this folder fills in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proxtune.config.plan import Plan
from proxtune.config.recipe import DEFAULT_BATCH, Knobs
from proxtune.memory.devices.calibration import Calibration
from proxtune.models.facts import ModelFacts
from proxtune.tasks.base import TaskTraits

REFERENCE_WIDTH = 384  # of MiniLM, on which learning rates were found
# Trace families without a backward pass; in the second the weights are held in the dtype, in the first they are cast to it.
FORWARD, HELD_FORWARD = "forward", "held-forward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What a method is expected to reach before it is tried: ceiling − gap · exp(−epochs / decay_epochs).

    Shares of the accuracy that full fine-tuning reaches given time. They only order plans that fit; the validation rows
    judge the result. They rest on a few runs of MiniLM on the movie reviews (`docs/architecture.md`).
    """

    ceiling: float
    gap: float
    decay_epochs: float

    def expected(self, epochs: float) -> float:
        """Expected share after `epochs` passes over the data."""
        return self.ceiling - self.gap * math.exp(-epochs / self.decay_epochs)


def _training_kernels(plan: Plan, traits: TaskTraits, calibration: Calibration) -> int:
    return calibration.training_kernel_bytes[plan.dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCost:
    """What a method costs beside what every method does: the planner's arithmetic asks for these.

    `trace_family` names the traced step that says what a step of the method holds and computes: `FORWARD`, `HELD_FORWARD`, or the
    name of the method whose first variant is traced for it (often its own).
    `count_trainable(plan, facts)` are the parameters that a plan trains; a dry run counts them.
    `backward_share(plan, facts)` is the share of the blocks that a backward pass goes through.
    `extra_bytes(plan, facts, calibration)` come on top of the terms of these names: "libraries", "weights" and the like.
    `kernel_bytes(plan, traits, calibration)` are compiled kernels and scratch beyond those of a forward pass in fp32.
    `heap_slack(plan, traits, calibration)` times as much the allocator holds beyond what other methods make it hold.
    `slowdown(plan, calibration)` times as long a step takes as its operations say, and `update_seconds(calibration)` for each
    trained parameter beside them. A forward pass dispatches `dispatches` products where a plain model dispatches one.
    With `trains_embeddings` the gradient of the embeddings is made dense.
    """

    trace_family: str
    count_trainable: Callable[[Plan, ModelFacts], int]
    backward_share: Callable[[Plan, ModelFacts], float] = lambda plan, facts: 1.0
    extra_bytes: Callable[[Plan, ModelFacts, Calibration], Mapping[str, int]] = lambda plan, facts, calibration: {}
    kernel_bytes: Callable[[Plan, TaskTraits, Calibration], int] = _training_kernels
    heap_slack: Callable[[Plan, TaskTraits, Calibration], float] = lambda plan, traits, calibration: 1.0
    slowdown: Callable[[Plan, Calibration], float] = lambda plan, calibration: 1.0
    update_seconds: Callable[[Calibration], float] = lambda calibration: calibration.update_seconds
    dispatches: float = 1.0
    trains_embeddings: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to train.

    `variants(blocks, knobs)` lists the knobs worth considering, as keyword arguments for `Plan`.
    `prepare(model, plan)` marks what is trainable and returns the model to train (it may wrap it).
    `finish(model, plan)` gives back the plain transformers model; `merged_bytes(model)` of the prepared model go then.
    `prior(plan, blocks)` says what to expect of a variant; `base_model_prior(plan, blocks)` where the task begins at a model that
    knows it already, its gap then set by the task.
    `expected_loss(plan)` is the quality that a knob of the plan costs.
    `learning_rate` is for a model of `REFERENCE_WIDTH`; wider ones take proportionally less. `lr_scale(plan, blocks)` times as
    much where a new head learns.
    `learns_by` what: "features" (one pass, then a fit), "neighbours" or "gradients" (both in steps).
    `epochs` are the most passes over the data that pay, and fewer than `least_steps` are not worth a beginning.
    `batch` is the usual effective batch, and `warm_up` the share of the steps in which the learning rate rises.
    `applies(facts)` says whether it can train a model of these facts at all.
    `supports_size_limit` says whether the weights can be held to a size while it learns, `supports_codes` whether most weights
    are frozen and may be held in bf16 or as codes, `keeps_adapter` whether it learns adapters, which can be kept beside the
    model.
    `trains_everything(plan, blocks)`: whether a plan trains all blocks, so that an optimizer of less state is worth a look.
    """

    name: str
    cost: MethodCost
    learns_by: str
    learning_rate: float
    variants: Callable[[int, Knobs], list[dict[str, Any]]]
    prepare: Callable[[Any, Plan], Any]
    finish: Callable[[Any, Plan], Any]
    prior: Callable[[Plan, int], Prior]
    base_model_prior: Callable[[Plan, int], Prior] | None = None  # the same as `prior`
    applies: Callable[[ModelFacts], bool] = lambda facts: True
    expected_loss: Callable[[Plan], float] = lambda plan: 0.0
    lr_scale: Callable[[Plan, int], float] = lambda plan, blocks: 1.0
    trains_everything: Callable[[Plan, int], bool] = lambda plan, blocks: False
    merged_bytes: Callable[[Any], int] = lambda model: 0
    epochs: float = 4.0
    least_steps: int = 20
    batch: int = DEFAULT_BATCH
    warm_up: float = 0.06
    supports_size_limit: bool = True
    supports_codes: bool = False
    keeps_adapter: bool = False

    @property
    def uses_gradients(self) -> bool:
        """Whether it back-propagates."""
        return self.learns_by == "gradients"

    @property
    def makes_steps(self) -> bool:
        """Whether it goes through the training loop."""
        return self.learns_by != "features"

    @property
    def counts_points(self) -> bool:
        """Whether a step evaluates each row at several points, and a micro-batch counts it once for each."""
        return self.learns_by == "neighbours"

    def fits_head(self, traits: TaskTraits) -> bool:
        """Whether a head fitted to features is what it comes to, or begins from."""
        return not self.uses_gradients or (traits.new_head and not traits.needs_gradients)

    def can_learn(self, traits: TaskTraits) -> bool:
        """Whether it can learn a task of these traits."""
        return self.uses_gradients or not traits.needs_gradients

    def may_hold_bf16(self, traits: TaskTraits) -> bool:
        """Whether weights may be held in bf16 while it learns: those that are frozen, or all where there are no gradients."""
        frozen = self.supports_codes and traits.frozen_codes
        return frozen or (self.counts_points and not traits.needs_gradients)


def unchanged(model: Any, plan: Plan) -> Any:
    """For methods that train the plain model itself."""
    return model
