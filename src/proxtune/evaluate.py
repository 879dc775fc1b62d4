"""Evaluation: logits for rows, scores against their labels. Holds one micro-batch of activations and all the logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from proxtune.batches import collate, sorted_batches
from proxtune.memory.govern import is_refusal
from proxtune.memory.meter import Meter
from proxtune.scores import score_classification
from proxtune.tasks.classify import Encoded


def logits_of(model: Any, data: Encoded, pad_id: int, dtype: str, micro_tokens: int, meter: Meter) -> np.ndarray:
    """Logits of every row in its own place, (rows, classes) float32.

    A refused allocation halves the micro-batch and repeats the same rows; raises MemoryError when one row is too much.
    """
    device = next(model.parameters()).device
    model.eval()
    out: np.ndarray | None = None
    pending = list(sorted_batches(data.lengths, micro_tokens))[::-1]
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16"):
        while pending:
            rows = pending.pop()
            ids, mask = collate(data, rows, pad_id)
            try:
                logits = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
            except (RuntimeError, MemoryError) as error:
                if not is_refusal(error):
                    raise
                if len(rows) == 1:
                    raise MemoryError("evaluating one row does not fit in the memory budget") from error
                meter.give_back()
                pending += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
                continue
            if out is None:
                out = np.empty((len(data), logits.shape[-1]), dtype=np.float32)
            out[rows] = logits.float().cpu().numpy()
    return out if out is not None else np.zeros((0, 0), dtype=np.float32)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the classes, (rows, classes)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def score(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """accuracy, macro_f1 and loss (mean negative log-likelihood)."""
    chances = probabilities(logits)
    found = score_classification(labels.tolist(), logits.argmax(axis=1).tolist(), logits.shape[1])
    loss = -np.log(np.clip(chances[np.arange(len(labels)), labels], 1e-12, None)).mean()
    return {**found, "loss": float(loss)}
