"""The objective of classification: the label's cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from proxtune.data.batching import model_inputs
from proxtune.data.dataset import Encoded, Objective, select_rows, shortest_row
from proxtune.tasks.classification.metrics import score_classification
from proxtune.tasks.padding import padding_as_noise

_TAUGHT = 0.5  # of the loss, once there is a teacher
_TRIED_PADDING = 5  # tokens
_SAME = 1e-4  # of the largest logit, in fp32: MiniLM comes to 3e-7, and a new Nystromformer, whose kernel sees padding, to 1e-3


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


def word_loss(
    model: Any, data: Encoded, rows: np.ndarray, pad_id: int, whole: np.ndarray, teacher: np.ndarray | None = None
) -> Any:
    """The same where the logits are log P of the labels' words: all other words are wrong answers too."""
    assert teacher is None, "words are not taught"
    chances = outputs(model, data, rows, pad_id)
    labels = torch.from_numpy(data.labels[rows]).to(chances.device)
    return torch.nn.functional.nll_loss(chances, labels, reduction="sum") / len(whole)


def pads(model: Any, data: Encoded, pad_id: int) -> bool:
    """Whether the logits of rows stay the same with padding behind them: the shortest, and a middle one as long as the longest.

    A model that looks through windows (Reformer) shows it in rows alone that are longer than one of them.
    """
    middle = select_rows(data, np.argsort(data.lengths, kind="stable")[[len(data) // 2]])
    tried = [(shortest_row(data), _TRIED_PADDING), (middle, int(data.lengths.max() - middle.lengths[0]))]
    return all(_stays_the_same(model, row, more, pad_id) for row, more in tried if more)


def _stays_the_same(model: Any, row: Encoded, more: int, pad_id: int) -> bool:
    """Whether the logits of one row are those that it has with so `more` tokens behind it."""
    device = next(model.parameters()).device
    ids = torch.from_numpy(row.ids.astype(np.int64))[None]
    found = []
    for padding in ((0, 0), (0, more)):
        inputs = torch.nn.functional.pad(ids, padding, value=pad_id)
        mask = torch.nn.functional.pad(torch.ones_like(ids), padding)
        with torch.inference_mode(), padding_as_noise(model, pad_id):
            found.append(model(input_ids=inputs.to(device), attention_mask=mask.to(device)).logits.float())
    return torch.allclose(found[0], found[1], rtol=_SAME, atol=_SAME * float(found[0].abs().max()))


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


WORDS = Objective(outputs=outputs, loss=word_loss, score=score, rank=rank, pads=pads, reads_vocabulary=True)
LABELS = Objective(outputs=outputs, loss=loss, score=score, rank=rank, pads=pads)
