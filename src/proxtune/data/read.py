"""Any source → `Examples`: texts and their labels."""

from __future__ import annotations

from proxtune.data.cells import to_examples
from proxtune.data.columns import choose_columns
from proxtune.data.sources import read_source, read_source_split
from proxtune.data.table import Table
from proxtune.examples import Examples


def _to_examples(
    table: Table, source: str, text_column: str | None, label_column: str | None, need_labels: bool
) -> Examples:
    columns = choose_columns(table, source, text_column, label_column, need_labels)
    return to_examples(table, columns, source, labels_asked=need_labels or label_column is not None)


def read_examples(
    source: str, *, text_column: str | None = None, label_column: str | None = None, need_labels: bool = True
) -> Examples:
    """The rows of a file, of a folder's train split, or of a hub dataset's train split.

    Columns not named are guessed and the guess is told in `notes`. Raises PersonError.
    """
    return _to_examples(read_source(source), source, text_column, label_column, need_labels)


def read_split(
    source: str,
    split: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    need_labels: bool = True,
) -> Examples | None:
    """A folder's or hub dataset's own split, "validation" or "test"; None where it has none. Raises PersonError."""
    table = read_source_split(source, split)
    return None if table is None else _to_examples(table, source, text_column, label_column, need_labels)
