"""What every task says of its rows in a result."""

from __future__ import annotations

from typing import Any

import numpy as np

from proxtune.data.dataset import Encoded
from proxtune.data.examples import row_name
from proxtune.tasks.base import TaskData


def row_facts(data: TaskData, notes: tuple[str, ...] = ()) -> dict[str, Any]:
    """Where the rows come from, how many there are, and how they were read; `notes` are the task's own."""
    told = [*data.split.train.notes, data.split.note, *data.notes, *notes]
    truncated = data.train.truncated + data.validation.truncated
    if truncated:
        told.append(f"{truncated} rows were longer than {data.max_length} tokens and were cut there")
    return {
        "source": data.split.train.source,
        "train_rows": len(data.train),
        "validation_rows": len(data.validation),
        "labels": list(data.labels),
        "notes": told,
        "truncated_rows": truncated,
        "max_length": data.max_length,
    }


def render_row(data: TaskData, row: int) -> dict[str, Any]:
    """A training row as the model sees it, special tokens and all, apart from what it learns to say of it.

    `input` is read and has no loss; `learned` is the label, or the tokens that the loss is of.
    """
    rows = data.train
    ids = _ids(rows, row)
    found: dict[str, Any] = {"name": row_name(data.split.train, row), "tokens": len(ids)}
    if rows.answers is not None:
        return found | {"input": _text(data, ids), "learned": _text(data, _ids(rows.answers, row))}
    if rows.begins is not None:
        begins = int(rows.begins[row])
        return found | {"input": _text(data, ids[:begins]), "learned": _text(data, ids[begins:])}
    return found | {"input": _text(data, ids), "learned": data.labels[int(rows.labels[row])]}


def _ids(rows: Encoded, row: int) -> np.ndarray:
    return rows.ids[rows.starts[row] : rows.starts[row + 1]]


def _text(data: TaskData, ids: np.ndarray) -> str:
    return str(data.tokenizer.decode(ids.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False))
