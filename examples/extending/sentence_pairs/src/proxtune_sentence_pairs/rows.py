"""Two text columns → one text, `first ||| second`, which reports show and which can be typed after `proxtune predict`."""

from __future__ import annotations

from dataclasses import replace

from proxtune.data.columns import LABEL_NAMES, Columns, column_list, find_column, named_column
from proxtune.data.examples import Examples
from proxtune.data.table import Table
from proxtune.errors import UserError
from proxtune.tasks.classification.reader import to_examples

SEPARATOR = " ||| "
_NAMES = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence"))


def read_pairs(table: Table, source: str, label_column: str | None, *, need_labels: bool) -> Examples:
    """The rows of a table with two text columns. Raises UserError, which names the columns that there are."""
    first, second = _text_columns(table, source)
    label = (
        find_column(table, LABEL_NAMES)
        if label_column is None
        else named_column(table, source, label_column, "--label-column")
    )
    if label is None and need_labels:
        raise UserError(f"{source}: no label column among {column_list(table)}; name it with --label-column")
    joined: list[object] = [
        SEPARATOR.join(map(str, pair)) if all(pair) else None  # a row without one of them is refused with its line
        for pair in zip(table.columns[first], table.columns[second], strict=True)
    ]
    name = f"{first}{SEPARATOR}{second}"
    columns = Columns(text=name, label=label, note=f"pairs from columns {first!r} and {second!r}")
    return to_examples(
        replace(table, columns={**table.columns, name: joined}), columns, source, labels_required=need_labels
    )


def _text_columns(table: Table, source: str) -> tuple[str, str]:
    for names in _NAMES:
        first, second = (find_column(table, (name,)) for name in names)
        if first is not None and second is not None:
            return first, second
    known = " or ".join("/".join(names) for names in _NAMES)
    raise UserError(f"{source}: needs two text columns called {known}; there are {column_list(table)}")


def with_separator(rows: Examples, separator: str) -> Examples:
    """The rows with the tokenizer's own separator between the sentences. Raises UserError for a text that is no pair."""
    for text, line in zip(rows.texts, rows.lines, strict=True):
        if SEPARATOR not in text:
            raise UserError(f"{rows.source} line {line}: not a pair; write it as 'first{SEPARATOR}second'")
    return replace(rows, texts=[text.replace(SEPARATOR, separator) for text in rows.texts])
