"""Whether the first line of a file of texts alone is the name of its column, or the first of the texts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from proxtune.data.columns import PAIR_MARK, TEXT_NAMES, normalized
from proxtune.data.table import Table

_SHOWN = 40  # characters of a text


def is_header(first: str, learned: str | None, usual: Collection[str] = TEXT_NAMES) -> bool:
    """Whether `first` names a column of texts.

    It does if it is the name that a run `learned` from, a `usual` one, or several words joined by "_" that have a usual one among
    them ("tweet_text"), in any case.
    """
    name = normalized(first)
    if name in usual or (learned is not None and name == normalized(learned)):
        return True
    return not any(map(str.isspace, first.strip())) and any(part in usual for part in name.split("_"))


def keep_first_text(table: Table, learned: str | None, usual: Collection[str] = TEXT_NAMES) -> Table:
    """The table of rows to predict, with the line above a single column as the first row where it is no header, which is said.

    Rows are answered line by line, so that a text taken for a header would shift all answers by one.
    """
    holds_pairs = learned is not None and PAIR_MARK in learned  # which a single column cannot
    if holds_pairs or not table.has_header or len(table.header) != 1 or len(table.columns) != 1:
        return table
    (first,), (cells,) = table.header, table.columns.values()
    if is_header(first, learned, usual):
        return replace(table, has_header=False)  # it is settled: no one need look whether it reads like a row
    name = learned or "text"
    shown = first if len(first) <= _SHOWN else first[: _SHOWN - 3] + "..."
    told = (
        f"the first line ({shown!r}) names no column of texts, so it is a text; if it is a header, write {name!r} there"
    )
    return replace(
        table,
        columns={name: [first, *cells]},
        lines=[table.header_line, *table.lines],
        has_header=False,
        notes=[*table.notes, told],
    )
