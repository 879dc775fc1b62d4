"""probe: the body is frozen; a logistic regression on its features becomes the model's own classification layer.

The features are what the model feeds its last linear layer, so the fitted coefficients are that layer's weights and the
result is a plain transformers model. scikit-learn fits them in a process of its own (`methods/linear_head.py`): its imports do
not share the budget with the language model.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxtune.config.plan import Plan
from proxtune.methods.base import FORWARD, Method, MethodCost, Prior, unchanged

if TYPE_CHECKING:
    import numpy as np


def _prepare(model: Any, plan: Plan) -> Any:
    model.requires_grad_(False)
    return model


def features(model: Any, passes: Iterable[tuple[np.ndarray, Any]], lengths: np.ndarray) -> np.ndarray:
    """What the last linear layer sees: (rows, width) float32. Each of `passes` is (row numbers, logits), just made.

    `lengths` are the tokens of each row.
    """
    import numpy as np
    import torch

    from proxtune.models.introspection import head_of

    _, head = head_of(model)
    seen: list[Any] = []
    hook = head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    out = np.empty((len(lengths), head.in_features), dtype=np.float32)
    try:
        for numbers, _ in passes:
            found = seen[-1].float()  # (rows, width), or (rows, length, width) for decoders
            seen.clear()
            if found.dim() == 3 and found.shape[1] == 1:  # of the one query that sums a row up
                found = found[:, 0]
            elif found.dim() == 3:
                found = found[torch.arange(len(found)), torch.from_numpy(lengths[numbers] - 1)]
            out[numbers] = found.cpu().numpy()
            del found  # a small tensor that stays would keep the heap around it apart
    finally:
        hook.remove()
    return out


def install_head(model: Any, path: Path) -> None:
    """Put the fitted coefficients into the model's last linear layer; a head without bias takes none."""
    import numpy as np
    import torch

    from proxtune.models.introspection import head_of

    _, head = head_of(model)
    with np.load(path, allow_pickle=False) as arrays, torch.no_grad():
        head.weight.copy_(torch.from_numpy(arrays["weight"]))
        if head.bias is not None:
            head.bias.copy_(torch.from_numpy(arrays["bias"]))


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
