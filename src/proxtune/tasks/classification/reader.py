"""Any source → `Examples`: texts, their labels, and the labels in an order that people expect."""

from __future__ import annotations

from proxtune.data.columns import Columns, choose_columns
from proxtune.data.examples import Examples
from proxtune.data.readers.source import read_source, read_source_split
from proxtune.data.table import Table
from proxtune.data.values import cell_text, is_valid_unicode, to_valid_unicode
from proxtune.errors import UserError

_SHOWN = 5  # line numbers in a message


def _words(table: Table, name: str, source: str, kind: str) -> list[str | None]:
    words: list[str | None] = []
    try:
        for cell in table.columns[name]:
            words.append(cell_text(cell))
    except TypeError as error:
        where = f"{source} {table.unit} {table.lines[len(words)]}"
        advice = "give plain text there, or name another column"
        raise UserError(f"{where}: the {kind} in column {name!r} is {error}; {advice}") from None
    return words


def _missing(table: Table, words: list[str | None]) -> list[int]:
    return [line for text, line in zip(words, table.lines, strict=True) if text is None or not text.strip()]


def _missing_values_error(table: Table, source: str, missing: list[int], name: str, kind: str) -> UserError:
    shown = ", ".join(map(str, missing[:_SHOWN])) + (", ..." if len(missing) > _SHOWN else "")
    unit = table.unit if len(missing) == 1 else f"{table.unit}s"
    counted = f"{len(missing):,} of {len(table.lines):,} rows"
    where = f"{counted} ({unit} {shown})"
    return UserError(f"{source}: no {kind} in column {name!r} in {where}; fill them in or remove them")


def _labels(table: Table, name: str, source: str) -> list[str]:
    words = _words(table, name, source, "label")
    missing = _missing(table, words)
    if missing:
        raise _missing_values_error(table, source, missing, name, "label")
    same: dict[str, str] = {}  # one string a class, not one a row
    plain = (to_valid_unicode((text or "").strip()) for text in words)
    return [same.setdefault(label, label) for label in plain]


def to_examples(table: Table, columns: Columns, source: str, *, labels_required: bool) -> Examples:
    """The rows of `table` as examples, labels stripped and written as words.

    Raises UserError for missing or nested values; unless `labels_required`, a label column with such is left out.
    """
    notes = [*table.notes, *([columns.note] if columns.note else [])]
    words = _words(table, columns.text, source, "text")
    missing = _missing(table, words)
    if missing:
        raise _missing_values_error(table, source, missing, columns.text, "text")
    texts = [text or "" for text in words]
    broken = [place for place, text in enumerate(texts) if not is_valid_unicode(text)]
    for place in broken:
        texts[place] = to_valid_unicode(texts[place])
    if broken:
        notes.append(f"{len(broken):,} texts held half a character (a lone surrogate), now marked by \ufffd")
    label_column = columns.label
    try:
        labels = [] if label_column is None else _labels(table, label_column, source)
    except UserError:
        if labels_required:
            raise
        label_column, labels = None, []
    return Examples(
        texts=texts,
        labels=labels,
        source=source,
        lines=table.lines,
        text_column=columns.text,
        label_column=label_column,
        notes=notes,
    )


def _to_examples(
    table: Table, source: str, text_column: str | None, label_column: str | None, need_labels: bool
) -> Examples:
    columns = choose_columns(table, source, text_column, label_column, need_labels)
    return to_examples(table, columns, source, labels_required=need_labels or label_column is not None)


def read_examples(
    source: str, *, text_column: str | None = None, label_column: str | None = None, need_labels: bool = True
) -> Examples:
    """The rows of a file, of a folder's train split, or of a hub dataset's train split.

    Columns not named are guessed and the guess is told in `notes`. Raises UserError.
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
    """A folder's or hub dataset's own split, "validation" or "test"; None where it has none. Raises UserError."""
    table = read_source_split(source, split)
    return None if table is None else _to_examples(table, source, text_column, label_column, need_labels)


def sorted_labels(examples: Examples) -> list[str]:
    """The classes, numbers in order of size and words in order of the alphabet."""

    def key(label: str) -> tuple[int, float, str]:
        try:
            return (0, float(label), label)
        except ValueError:
            return (1, 0.0, label)

    return sorted(set(examples.labels), key=key)
