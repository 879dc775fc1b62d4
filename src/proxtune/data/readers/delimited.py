"""CSV and TSV files."""

from __future__ import annotations

import csv
from itertools import chain
from pathlib import Path
from typing import Literal

from proxtune.data.table import Table, empty_file, text_lines
from proxtune.errors import UserError

_FIELD_LIMIT = 2**31 - 1  # the most that the csv module takes on every system; its own default is 131,072 characters


def _header(path: Path, fields: list[str]) -> list[str]:
    names = [name.strip() or f"column {place}" for place, name in enumerate(fields, start=1)]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path} line 1: two columns are called {name!r}; rename one in the header")
    return names


def _delimited(path: Path, delimiter: str, max_rows: int | None, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> Table:
    lines = text_lines(path)
    opening: list[str] = []  # blank lines before the header, then the header's first line
    for line in lines:
        opening.append(line)
        if line.strip():
            break
    else:
        raise empty_file(path)
    notes = []
    if delimiter == "," and "," not in opening[-1]:  # spreadsheets of many countries write semicolons
        other = next((mark for mark in ";\t" if mark in opening[-1]), None)
        if other is not None:
            delimiter = other
            notes.append(f"columns are parted by {'semicolons' if other == ';' else 'tabs'}, not commas")
    # Strict: a quote left open must not swallow the rest of the file in silence.
    reader = csv.reader(chain(opening, lines), delimiter=delimiter, quoting=quoting, strict=True)
    names: list[str] = []
    cells: list[list[object]] = []
    starts: list[int] = []
    begins = 1
    former_limit = csv.field_size_limit(_FIELD_LIMIT)
    try:
        for row in reader:
            if not row or (len(row) == 1 and len(names) != 1 and not row[0].strip()):
                pass  # a blank line
            elif not names:
                names = _header(path, row)
                cells = [[] for _ in names]
            elif len(row) != len(names):
                hint = "quote a text that holds the delimiter, or fix the row"
                fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
                raise UserError(f"{path} line {begins}: {fields} where the header has {len(names)}; {hint}")
            else:
                for column, cell in zip(cells, row, strict=True):
                    column.append(cell)
                starts.append(begins)
                if len(starts) == max_rows:
                    break
            begins = reader.line_num + 1
    except csv.Error as error:
        hint = 'close the quote, and write a quote inside a quoted text twice ("")'
        raise UserError(f"{path} line {begins}: broken quoting ({error}); {hint}") from None
    finally:
        csv.field_size_limit(former_limit)
    if not starts:
        raise UserError(f"{path}: has a header but no rows; add rows below it")
    return Table(dict(zip(names, cells, strict=True)), starts, has_header=True, notes=notes)


def read_csv(path: Path, max_rows: int | None = None) -> Table:
    """A CSV file with a header line, or its first rows. Raises UserError."""
    return _delimited(path, ",", max_rows)


def _unquoted(cell: object) -> object:
    if isinstance(cell, str) and len(cell) >= 2 and cell[0] == cell[-1] == '"':
        inner = cell[1:-1]
        if '"' not in inner.replace('""', ""):
            return inner.replace('""', '"')
    return cell


def read_tsv(path: Path, max_rows: int | None = None) -> Table:
    """A TSV file with a header line, or its first rows, whether or not its writer knew of quoting. Raises UserError."""
    # Most TSV files quote nothing, and there a text that opens with a quote would swallow the rows after it.
    # So lines are rows as long as every line has the header's number of fields, and only then quoted cells are undone.
    try:
        plain = _delimited(path, "\t", max_rows, csv.QUOTE_NONE)
    except UserError as error:
        try:
            return _delimited(path, "\t", max_rows)
        except UserError:
            raise error from None
    names = _header(path, [str(_unquoted(name)) for name in plain.columns])
    cells = [[_unquoted(cell) for cell in column] for column in plain.columns.values()]
    return Table(dict(zip(names, cells, strict=True)), plain.lines, has_header=True, notes=plain.notes)
