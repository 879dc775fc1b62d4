"""What a method is: the contract that every file in this folder fills in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxtune.config.plan import Plan
from proxtune.config.recipe import DEFAULT_BATCH, Knobs


@dataclass(frozen=True, slots=True)
class Prior:
    """What a method is expected to reach before it is tried: ceiling − gap · exp(−epochs / pace).

    Shares of the accuracy that full fine-tuning reaches given time. They only order plans that fit; the validation rows
    judge the result. They rest on a few runs of MiniLM on the movie reviews (`docs/architecture.md`).
    """

    ceiling: float
    gap: float
    decay_epochs: float

    def expected(self, epochs: float) -> float:
        """Expected share after `epochs` passes over the data."""
        return self.ceiling - self.gap * math.exp(-epochs / self.decay_epochs)


@dataclass(frozen=True, slots=True)
class Method:
    """One way to train.

    `variants(blocks, knobs)` lists the knobs worth considering, as keyword arguments for `Plan`.
    `prepare(model, plan)` marks what is trainable and returns the model to train (it may wrap it).
    `finish(model, plan)` gives back the plain transformers model.
    `prior(plan, blocks)` says what to expect of a variant.
    `learning_rate` is for a model 384 wide; wider ones take proportionally less. `lr_scale(plan, blocks)` times as much where
    texts are classified.
    `learns_by` what: "features" (one pass, then a fit elsewhere), "neighbours" or "gradients" (both in steps).
    `epochs` are the most passes over the data that pay, and fewer than `least_steps` are not worth a beginning.
    `batch` is the usual effective batch, and `warm_up` the share of the steps in which the learning rate rises.
    `supports_size_limit` says whether the weights can be held to a size while it learns.
    """

    name: str
    learns_by: str
    learning_rate: float
    variants: Callable[[int, Knobs], list[dict[str, Any]]]
    prepare: Callable[[Any, Plan], Any]
    finish: Callable[[Any, Plan], Any]
    prior: Callable[[Plan, int], Prior]
    lr_scale: Callable[[Plan, int], float] = lambda plan, blocks: 1.0
    epochs: float = 4.0
    least_steps: int = 20
    batch: int = DEFAULT_BATCH
    warm_up: float = 0.06
    supports_size_limit: bool = True

    @property
    def uses_gradients(self) -> bool:
        """Whether it back-propagates."""
        return self.learns_by == "gradients"

    @property
    def makes_steps(self) -> bool:
        """Whether it goes through the training loop."""
        return self.learns_by != "features"


def unchanged(model: Any, plan: Plan) -> Any:
    """For methods that train the plain model itself."""
    return model
