"""probe: the body is frozen; a logistic regression on its features becomes the model's own classification layer.

The features are what the model feeds its last linear layer, so the fitted coefficients are that layer's weights and the
result is a plain transformers model (`methods/linear_head.py`).
"""

from __future__ import annotations

from typing import Any

from proxtune.config.plan import Plan
from proxtune.methods.base import FORWARD, Method, MethodCost, Prior, unchanged


def _prepare(model: Any, plan: Plan) -> Any:
    model.requires_grad_(False)
    return model


METHOD = Method(
    name="probe",
    cost=MethodCost(
        trace_family=FORWARD,
        count_trainable=lambda plan, facts: 0,
        kernel_bytes=lambda plan, traits, calibration: calibration.forward_kernel_bytes[plan.dtype],
    ),
    learns_by="features",
    learning_rate=0.0,
    variants=lambda blocks, knobs: [{}],
    prepare=_prepare,
    finish=unchanged,
    prior=lambda plan, blocks: Prior(ceiling=0.86, gap=0.0, decay_epochs=1.0),
)
