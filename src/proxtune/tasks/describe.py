"""What every task says of its rows in a result."""

from __future__ import annotations

from typing import Any

from proxtune.tasks.base import TaskData


def row_facts(data: TaskData, notes: tuple[str, ...] = ()) -> dict[str, Any]:
    """Where the rows come from, how many there are, and how they were read; `notes` are the task's own."""
    told = [*data.split.train.notes, data.split.note, *notes, *data.notes]
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
        "attention": str(data.config._attn_implementation),
        **({} if data.pads else {"pads": False}),
    }
