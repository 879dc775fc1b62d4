"""Progress: where a training is. With the weights and the optimizer it is all that decides the next step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from proxtune.config.plan import Plan

# What a snapshot calls them, where that differs: its keys are older.
_NAMES = {"judged": "validated_step", "judging_seconds": "validation_seconds", "returns": "rollbacks",
          "held_from": "size_phase_step"}  # fmt: skip


@dataclass(slots=True)
class TrainingState:
    """State of the loop. `steps` is how many there will be, as the clock last said; `rows_seen` counts rows.

    `best` is the rank of the best point evaluated; `rate_share` what losses that were not finite have left of the
    learning rate, `rejected` how many there were in a row, `rollbacks` how often the last snapshot was gone back to;
    `size_phase_step` the step since which the model is held to its size.
    """

    plan: Plan
    steps: int
    step: int = 0
    rows_seen: int = 0
    best: tuple[float, float] = (-1.0, -math.inf)
    validated_step: int = -1
    validation_seconds: float = 0.0
    rate_share: float = 1.0
    rejected: int = 0
    rollbacks: int = 0
    size_phase_step: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: of the plan what a step-down changes, and nothing that the journal or the data tell."""
        return {
            "micro_batch": self.plan.micro_batch, "checkpointing": self.plan.checkpointing, "steps": self.steps,
            "step": self.step, "judged": self.validated_step, "judging_seconds": self.validation_seconds,
            "rate_share": self.rate_share, "returns": self.rollbacks, "held_from": self.size_phase_step,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plan: Plan, saved: dict[str, Any]) -> TrainingState:
        """The inverse of `as_dict`, for the plan of the same run. Raises ValueError, TypeError, KeyError."""
        own = dict(saved)
        plan = replace(plan, micro_batch=int(own.pop("micro_batch")), checkpointing=bool(own.pop("checkpointing")))
        return cls(plan, **{_NAMES.get(key, key): value for key, value in own.items()})
