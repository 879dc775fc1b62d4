"""Evaluation, under the governor: logits for rows, scores against their labels. Holds one micro-batch and all the logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from proxtune.batches import collate, sorted_batches
from proxtune.memory.govern import Governor, is_refusal
from proxtune.scores import score_classification
from proxtune.tasks.classify import Encoded, take


def passes(
    model: Any, data: Encoded, pad_id: int, dtype: str, micro_tokens: int, governor: Governor
) -> Iterator[tuple[np.ndarray, Any, Any]]:
    """Each row once, forward only, from short to long: yields (row numbers, mask (rows, length), logits (rows, classes)).

    A refused allocation halves the micro-batch and repeats the same rows; raises MemoryError when one row is too much.
    """
    device = next(model.parameters()).device
    model.eval()
    pending = list(sorted_batches(data.lengths, micro_tokens))[::-1]
    while pending:
        rows = pending.pop()
        governor.renew()
        ids, mask = (part.to(device) for part in collate(data, rows, pad_id))
        try:
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16"):
                logits = model(input_ids=ids, attention_mask=mask).logits
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error):
                raise
            if governor.renew():  # address space was refused, not memory: the same again
                pending.append(rows)
                continue
            if len(rows) == 1:
                raise MemoryError("evaluating one row does not fit in the memory budget") from error
            governor.meter.give_back()
            pending += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
            continue
        yield rows, mask, logits


def logits_of(model: Any, data: Encoded, pad_id: int, dtype: str, micro_tokens: int, governor: Governor) -> np.ndarray:
    """Logits of every row in its own place, (rows, classes) float32. Raises MemoryError as `passes` does."""
    out: np.ndarray | None = None
    for rows, _, logits in passes(model, data, pad_id, dtype, micro_tokens, governor):
        if out is None:
            out = np.empty((len(data), logits.shape[-1]), dtype=np.float32)
        out[rows] = logits.float().cpu().numpy()
    return out if out is not None else np.zeros((0, 0), dtype=np.float32)


def logits_at_last(
    model: Any, data: Encoded, pad_id: int, dtype: str, micro_tokens: int, governor: Governor
) -> np.ndarray:
    """`logits_of` a model that has learned: where one row does not fit beside what training left behind, without the limit.

    What was learned is worth more than the bytes, and the measured peak tells.
    """
    try:
        return logits_of(model, data, pad_id, dtype, micro_tokens, governor)
    except MemoryError:
        governor.release()
        logits = logits_of(model, data, pad_id, dtype, 1, governor)
        governor.hold()
        return logits


def first_look(model: Any, data: Encoded, pad_id: int, dtype: str, governor: Governor) -> None:
    """Pass the shortest row alone, so that the kernels' code is in memory before a limit is set."""
    shortest = take(data, np.asarray([int(np.argmin(data.lengths))]))
    logits_of(model, shortest, pad_id, dtype, int(shortest.lengths[0]), governor)
    governor.meter.give_back()


def read_embeddings(model: Any, *rows: Encoded) -> None:
    """Touch the embeddings that these rows use, all where they learn: weights are mapped, and come in as they are read."""
    weight = model.get_input_embeddings().weight  # (vocabulary, width)
    used = torch.from_numpy(np.unique(np.concatenate([data.ids for data in rows])))
    if weight.requires_grad:
        used = torch.arange(len(weight))
    with torch.no_grad():
        for few in used.to(weight.device).split(1024):
            weight[few].sum()


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
