"""The objective of classification: the label's cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from proxtune.data.batching import model_inputs
from proxtune.data.dataset import Encoded, Objective
from proxtune.tasks.classification.metrics import score_classification

_TAUGHT = 0.5  # of the loss, once there is a teacher


def outputs(model: Any, data: Encoded, rows: np.ndarray, pad_id: int) -> Any:
    """The logits of rows, (rows, classes)."""
    device = next(model.parameters()).device
    return model(**{name: part.to(device) for name, part in model_inputs(data, rows, pad_id).items()}).logits


def loss(
    model: Any, data: Encoded, rows: np.ndarray, pad_id: int, whole: np.ndarray, teacher: np.ndarray | None = None
) -> Any:
    """Σ over `rows` of −log P(label), divided by the rows of the `whole` batch.

    With a `teacher`, logits of all rows (rows, classes), half of it is what it says instead of the labels (Hinton et al., 2015).
    """
    logits = outputs(model, data, rows, pad_id).float()
    with torch.autocast(logits.device.type, enabled=False):
        labels = torch.from_numpy(data.labels[rows]).to(logits.device)
        total = torch.nn.functional.cross_entropy(logits, labels, reduction="sum") / len(whole)
        if teacher is not None:
            taught = torch.from_numpy(teacher[rows]).to(logits.device).softmax(-1)
            total = (1 - _TAUGHT) * total + _TAUGHT / len(whole) * _divergence(logits, taught)
    return total


def _divergence(logits: Any, taught: Any) -> Any:
    """Σ over rows of KL(taught ‖ softmax(logits)): logits and chances (rows, classes)."""
    return torch.nn.functional.kl_div(logits.log_softmax(-1), taught, reduction="sum")


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the classes, (rows, classes)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def score(logits: np.ndarray, data: Encoded) -> dict[str, float]:
    """accuracy, macro_f1 and loss (mean negative log-likelihood)."""
    labels, chances = data.labels, probabilities(logits)
    found = score_classification(labels.tolist(), logits.argmax(axis=1).tolist(), logits.shape[1])
    lost = -np.log(np.clip(chances[np.arange(len(labels)), labels], 1e-12, None)).mean()
    return {**found, "loss": float(lost)}


def rank(metrics: Mapping[str, float]) -> tuple[float, float]:
    """Better where more answers are right; among equals, where the loss is less."""
    return metrics["accuracy"], -metrics["loss"]


LABELS = Objective(outputs=outputs, loss=loss, score=score, rank=rank)
