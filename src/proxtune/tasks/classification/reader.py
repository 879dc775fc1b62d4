"""Any source → `Examples`: texts or pairs of them, their labels, and the labels in an order that people expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proxtune.data.bad_rows import BadRow, BadRows, Missing, check_bad_rows, reject_or_skip
from proxtune.data.columns import PAIR_MARK, Columns, choose_columns, learned_columns
from proxtune.data.examples import BETWEEN, Examples
from proxtune.data.header import keep_first_text
from proxtune.data.labels import join_labels, number_notes
from proxtune.data.readers.source import read_source, read_source_split
from proxtune.data.table import Table
from proxtune.data.values import cell_text, is_blank, is_valid_unicode, to_valid_unicode
from proxtune.errors import UserError

_TYPED = "the command line"


def read_examples(
    source: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    need_labels: bool = True,
    bad_rows: str = "fail",
) -> Examples:
    """The rows of a file, of a folder's train split, or of a hub dataset's train split.

    `text_column` may name two, "first,second", for pairs of texts. Columns not named are guessed and the guess is told in
    `notes`. Rows without a text or a label are refused, or with `bad_rows` "skip" left out and told in `notes`. Raises UserError.
    """
    check_bad_rows(bad_rows)
    return _as_asked(read_source(source), source, text_column, label_column, need_labels, bad_rows)


def read_split(
    source: str,
    split: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    need_labels: bool = True,
    bad_rows: str = "fail",
) -> Examples | None:
    """A folder's or hub dataset's own split, "validation" or "test"; None where it has none. Else as `read_examples`."""
    check_bad_rows(bad_rows)
    table = read_source_split(source, split)
    return None if table is None else _as_asked(table, source, text_column, label_column, need_labels, bad_rows)


def read_new_rows(
    source: str,
    *,
    text_column: str | None,
    label_column: str | None = None,
    split: str | None = None,
    bad_rows: str = "fail",
) -> Examples | None:
    """Rows of another file, or of its own `split`, in the columns that a run learned from; None where there is no such split.

    Without a `label_column` they are to be predicted: rows without a text are not refused, their places are in `blank`, and the
    first line of a single column is a text unless it names one.
    Columns are guessed only where a run of an earlier version has kept no names. Raises UserError.
    """
    check_bad_rows(bad_rows)
    table = read_source(source) if split is None else read_source_split(source, split)
    if table is None:
        return None
    if label_column is None:
        table = keep_first_text(table, text_column)
    if text_column is None:
        columns = choose_columns(table, source, None, label_column, label_column is not None)
    else:
        columns = learned_columns(table, source, text_column, label_column)
    predicts = label_column is None
    return to_examples(
        table, columns, source, labels_required=not predicts, bad_rows=bad_rows, keeps_blank_places=predicts
    )


def typed_rows(texts: Sequence[str], text_column: str | None) -> Examples:
    """Texts that came from no file, pairs of them written as one. Raises UserError for one alone where the run learned pairs."""
    lines = list(range(1, len(texts) + 1))
    typed = Examples(
        texts=[to_valid_unicode(text) for text in texts], labels=[], source=_TYPED, lines=lines, text_column="text",
        label_column=None,
    )  # fmt: skip
    first, mark, second = (text_column or "").partition(PAIR_MARK)
    if not mark:
        return typed
    halves = [text.partition(BETWEEN) for text in typed.texts]
    alone = next((text for text, (_, between, _) in zip(texts, halves, strict=True) if not between), None)
    if alone is not None:
        wanted = f"'{first}{BETWEEN}{second}'"
        raise UserError(f"{alone[:60]!r} is one text, and the run learned from pairs: write {wanted}, or give --file")
    return replace(
        typed, texts=[half[0] for half in halves], second_texts=[half[2] for half in halves], second_column=second
    )


def _as_asked(
    table: Table, source: str, text_column: str | None, label_column: str | None, need_labels: bool, bad_rows: str
) -> Examples:
    columns = choose_columns(table, source, text_column, label_column, need_labels)
    needed = need_labels or label_column is not None
    examples = to_examples(table, columns, source, labels_required=needed, bad_rows=bad_rows)
    return replace(examples, notes=examples.notes + number_notes(examples.labels))


def to_examples(
    table: Table,
    columns: Columns,
    source: str,
    *,
    labels_required: bool,
    bad_rows: str = "fail",
    keeps_blank_places: bool = False,
) -> Examples:
    """The rows of `table` as examples, labels written as words, one spelling for each class.

    Raises UserError for missing or nested values, unless `bad_rows` is "skip"; unless `labels_required`, a label column with such
    is left out. With `keeps_blank_places`, rows without a text are never refused.
    """
    table.check_clear(source, columns.text, columns.second, columns.label)
    label_column = columns.label
    if label_column is not None and not labels_required and not _has_all_labels(table, label_column):
        label_column = None
    texts, second_texts, labels, lines = list[str](), list[str](), list[str](), list[int]()
    bad = BadRows()
    blank: list[int] = []
    for place, line in enumerate(table.lines):
        try:
            row = [_needed(table, place, columns.text, "text")]
            row += [] if columns.second is None else [_needed(table, place, columns.second, "text")]
            label = None if label_column is None else _needed(table, place, label_column, "label")
        except BadRow as why:
            if keeps_blank_places and (bad_rows == "skip" or isinstance(why, Missing)):
                blank.append(place)
            else:
                bad.add(line, why)
            continue
        texts.append(row[0])
        second_texts += row[1:]
        lines.append(line)
        labels += [] if label is None else [label.strip()]
    notes = [*table.notes, *([columns.note] if columns.note else []), *reject_or_skip(table, source, bad, bad_rows)]
    notes += _blank_note(table, source, blank)
    broken = sum(_fix_unicode(column) for column in (texts, second_texts))
    if broken:
        notes.append(f"{broken:,} texts held half a character (a lone surrogate), now marked by \ufffd")
    _fix_unicode(labels)
    labels, told = join_labels(labels)
    return Examples(
        texts=texts,
        labels=labels,
        source=source,
        lines=lines if len(lines) < len(table.lines) else table.lines,
        text_column=columns.text,
        label_column=label_column,
        notes=notes + told,
        second_texts=second_texts,
        second_column=columns.second,
        blank=tuple(blank),
    )


def _needed(table: Table, place: int, name: str, kind: str) -> str:
    """What a cell says. Raises BadRow where it says nothing, or is no single value."""
    try:
        word = cell_text(table.columns[name][place])
    except TypeError as error:
        raise BadRow(f"the {kind} in column {name!r} is {error}") from None
    if word is None or is_blank(word):
        raise Missing(f"no {kind} in column {name!r}")
    return word


def _has_all_labels(table: Table, name: str) -> bool:
    try:
        words = [cell_text(cell) for cell in table.columns[name]]
    except TypeError:
        return False
    return all(word is not None and not is_blank(word) for word in words)


def _blank_note(table: Table, source: str, blank: list[int]) -> list[str]:
    if not blank:
        return []
    if len(blank) == len(table.lines):
        raise UserError(f"{source}: none of {len(blank):,} rows has a text; give a file with texts")
    shown = ", ".join(str(table.lines[place]) for place in blank[:5]) + (", ..." if len(blank) > 5 else "")
    unit = table.unit if len(blank) == 1 else f"{table.unit}s"
    return [f"{len(blank):,} of {len(table.lines):,} rows have no text ({unit} {shown}): their answers are left empty"]


def _fix_unicode(words: list[str]) -> int:
    """Put whole characters for broken ones in `words`; how many had some."""
    broken = [place for place, word in enumerate(words) if not is_valid_unicode(word)]
    for place in broken:
        words[place] = to_valid_unicode(words[place])
    return len(broken)


def sorted_labels(examples: Examples) -> list[str]:
    """The classes, numbers in order of size and words in order of the alphabet."""

    def key(label: str) -> tuple[int, float, str]:
        try:
            return (0, float(label.replace(",", ".", 1)), label)
        except ValueError:
            return (1, 0.0, label)

    return sorted(set(examples.labels), key=key)
