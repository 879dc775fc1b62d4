"""Evaluation, under the governor: what a model says of rows. Holds one micro-batch, and a few numbers for each row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from proxtune.config.plan import Plan
from proxtune.data.batching import sorted_batches
from proxtune.data.dataset import Encoded, evenly_spaced_rows, select_rows
from proxtune.memory.governor import Governor, in_halves


def evaluated_rows(validation: Encoded, plan: Plan) -> np.ndarray:
    """Numbers of the validation rows that are evaluated in a training of `plan`."""
    return evenly_spaced_rows(len(validation), plan.validation_rows or len(validation))


def evaluated(validation: Encoded, plan: Plan) -> Encoded:
    """The validation rows that are evaluated in a training of `plan`."""
    return select_rows(validation, evaluated_rows(validation, plan)) if plan.validation_rows else validation


def forward_passes(
    model: Any, data: Encoded, pad_id: int, dtype: str, micro_tokens: int, governor: Governor
) -> Iterator[tuple[np.ndarray, Any]]:
    """Each row once, forward only, from short to long: yields (row numbers, what is said of them (rows, numbers)).

    For classes those are the logits. A refused allocation halves the micro-batch and repeats the same rows; raises MemoryError
    when one row is too much.
    """
    device = next(model.parameters()).device
    model.eval()

    def outputs(rows: np.ndarray) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16"):
            found: torch.Tensor = data.objective.outputs(model, data, rows, pad_id)
        return found

    pieces = sorted_batches(data.lengths, micro_tokens)
    for found in in_halves(pieces, outputs, governor, "evaluating one row does not fit in the memory budget"):
        yield found
        if (
            data.objective.long_rows and governor.meter.fragments
        ):  # of as many lengths as rows: each would fill other holes
            governor.meter.trim()


def outputs_of(model: Any, data: Encoded, pad_id: int, dtype: str, micro_tokens: int, governor: Governor) -> np.ndarray:
    """What the model says of every row in its own place, (rows, numbers) float32. Raises MemoryError as `forward_passes` does."""
    out: np.ndarray | None = None
    for rows, found in forward_passes(model, data, pad_id, dtype, micro_tokens, governor):
        if out is None:
            out = np.empty((len(data), found.shape[-1]), dtype=np.float32)
        out[rows] = found.float().cpu().numpy()
    return out if out is not None else np.zeros((0, 0), dtype=np.float32)


def final_outputs(
    model: Any, data: Encoded, pad_id: int, dtype: str, micro_tokens: int, governor: Governor
) -> np.ndarray:
    """`outputs_of` a model that has learned: where one row does not fit beside what training left behind, without the limit.

    What was learned is worth more than the bytes, and the measured peak tells.
    """
    try:
        return outputs_of(model, data, pad_id, dtype, micro_tokens, governor)
    except MemoryError:
        governor.release()
        try:
            return outputs_of(model, data, pad_id, dtype, 1, governor)
        finally:
            governor.hold()


def warm_up_forward(model: Any, data: Encoded, pad_id: int, dtype: str, governor: Governor) -> None:
    """Pass the shortest row alone, so that the kernels' code is in memory before a limit is set."""
    shortest = select_rows(data, np.asarray([int(np.argmin(data.lengths))]))
    outputs_of(model, shortest, pad_id, dtype, int(shortest.lengths[0]), governor)
    governor.meter.trim()


def touch_embeddings(model: Any, *rows: Encoded) -> None:
    """Touch the embeddings that these rows use, all where they learn: weights are mapped, and come in as they are read."""
    try:
        weight = model.get_input_embeddings().weight  # (vocabulary, width)
    except (AttributeError, NotImplementedError):  # CANINE hashes characters into several tables and has no single one
        return
    used = torch.from_numpy(np.unique(np.concatenate([data.ids for data in rows])))
    if weight.requires_grad or rows[0].objective.reads_vocabulary:  # by a head that is the same table, or as large
        used = torch.arange(len(weight))
    with torch.no_grad():
        for few in used.to(weight.device).split(1024):
            weight[few].sum()
