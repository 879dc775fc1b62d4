"""Progress: where a training is. With the weights and the optimizer it is all that decides the next step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from proxtune.config.plan import Plan


@dataclass(slots=True)
class Progress:
    """State of the loop. `steps` is how many there will be, as the clock last said; `seen` counts rows.

    `best` is the rank of the best point judged; `rate_share` what losses that were not finite have left of the
    learning rate, `rejected` how many there were in a row, `returns` how often the last snapshot was gone back to;
    `held_from` the step since which the model is held to its size.
    """

    plan: Plan
    steps: int
    step: int = 0
    seen: int = 0
    best: tuple[float, float] = (-1.0, -math.inf)
    judged: int = -1
    judging_seconds: float = 0.0
    rate_share: float = 1.0
    rejected: int = 0
    returns: int = 0
    held_from: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: of the plan what a step-down changes, and nothing that the journal or the data tell."""
        return {
            "micro_batch": self.plan.micro_batch, "checkpointing": self.plan.checkpointing, "steps": self.steps,
            "step": self.step, "judged": self.judged, "judging_seconds": self.judging_seconds,
            "rate_share": self.rate_share, "returns": self.returns, "held_from": self.held_from,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plan: Plan, told: dict[str, Any]) -> Progress:
        """The inverse of `as_dict`, for the plan of the same run. Raises ValueError, TypeError, KeyError."""
        own = dict(told)
        plan = replace(plan, micro_batch=int(own.pop("micro_batch")), checkpointing=bool(own.pop("checkpointing")))
        return cls(plan, **own)
