"""What every task says of its rows in a result, and what a trained model takes from that to read others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from proxtune.config.recipe import Recipe
from proxtune.data.columns import PAIR_MARK
from proxtune.data.dataset import Encoded
from proxtune.data.examples import row_name
from proxtune.tasks.base import TaskData


def row_facts(data: TaskData, notes: tuple[str, ...] = ()) -> dict[str, Any]:
    """Where the rows come from, how many there are, and how they were read; `notes` are the task's own."""
    train = data.split.train
    told = [*train.notes, data.split.note, *data.notes, *notes]
    truncated = data.train.truncated + data.validation.truncated
    if truncated:
        told.append(f"{truncated} rows were longer than {data.max_length} tokens and were cut there")
    return {
        "source": train.source,
        "text_columns": list(getattr(train, "text_columns", ())),  # of another package's rows nothing is known
        "label_column": getattr(train, "label_column", None),
        "train_rows": len(data.train),
        "validation_rows": len(data.validation),
        "labels": list(data.labels),
        "notes": told,
        "truncated_rows": truncated,
        "max_length": data.max_length,
        "attention": str(data.config._attn_implementation),
        **({} if data.pads else {"pads": False}),
        **({} if data.batches else {"batches": False}),
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


def with_learned_columns(recipe: Recipe, facts: Mapping[str, Any]) -> Recipe:
    """The recipe with the columns that the run learned from, by what `row_facts` said of them."""
    return replace(
        recipe,
        text_column=PAIR_MARK.join(facts.get("text_columns") or ()) or recipe.text_column,
        label_column=facts.get("label_column") or recipe.label_column,
    )
