"""JSON and JSON-lines files: what is in them decides how they are read, not what they are called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NoReturn

from proxtune.data.readers.json_shapes import other_lists, rows_under, why_no_rows
from proxtune.data.table import Table, empty_file
from proxtune.data.text_file import TextFile, open_text
from proxtune.data.values import held_once
from proxtune.errors import UserError

_Row = tuple[int, dict[str, object]]
_SPACE = " \t\n\r\ufeff"
_UNSURE = 16  # characters at the end of what was read so far, in which a fault may be only that more follows
_LISTED, _LINED = "the file is one JSON list, not an object a line", "the file has one JSON object a line"


def read_jsonl(path: Path, max_rows: int | None = None) -> Table:
    """A file with one JSON object a line, or its first rows; a list of them as well. Raises UserError."""
    file = open_text(path)
    if _first_character(file) == "[":
        return _table(islice(_listed(file), max_rows), "row", (*file.notes, _LISTED))
    if not _has_whole_lines(file):
        return _read_whole(file, max_rows)
    table = _table(islice(_lined(file), max_rows), "line", file.notes)
    if len(table.lines) == 1 and (why := why_no_rows({name: cells[0] for name, cells in table.columns.items()})):
        raise UserError(f"{path}: {why}")
    return table


def read_json(path: Path, max_rows: int | None = None) -> Table:
    """A JSON file: a list of objects, `{"data": [...]}`, or an object a line; or its first rows. Raises UserError."""
    file = open_text(path)
    if _first_character(file) == "[":
        return _table(islice(_listed(file), max_rows), "row", file.notes)
    if _has_whole_lines(file) and len(list(islice(filter(str.strip, file.lines()), 2))) == 2:
        return _table(islice(_lined(file), max_rows), "line", (*file.notes, _LINED))
    return _read_whole(file, max_rows)


def _first_character(file: TextFile) -> str:
    found = next((text for text in (line.strip(_SPACE) for line in file.lines()) if text), None)
    if found is None:
        raise empty_file(file.path)
    return found[0]


def _has_whole_lines(file: TextFile) -> bool:
    """Whether the first line is a JSON value by itself, or none at all: not the first of several that make one."""
    number, line = next((number, line) for number, line in enumerate(file.lines(), start=1) if line.strip(_SPACE))
    try:
        json.loads(line.strip(_SPACE))
    except json.JSONDecodeError as error:
        return error.pos < len(line.strip(_SPACE)) and not error.msg.startswith("Unterminated")
    except (ValueError, RecursionError):
        _parse(line, f"{file.path} line {number}")
    return True


def _lined(file: TextFile) -> Iterator[_Row]:
    for number, line in enumerate(file.lines(), start=1):
        text = line.strip(_SPACE)
        if text:
            where = f"{file.path} line {number}"
            yield number, _object(_parse(text, where), where)


def _listed(file: TextFile) -> Iterator[_Row]:
    """The objects of a list, read piece by piece: the text of a large file is never held whole."""
    number = 0
    for number, value in enumerate(_elements(file), start=1):
        yield number, _object(value, f"{file.path} row {number}")
    if not number:
        raise UserError(f"{file.path}: the list has no rows; add objects with a text and a label each")


def _elements(file: TextFile) -> Iterator[object]:
    reading = _Reading(file)
    reading.skip("[")
    if reading.next_character() == "]":
        reading.skip("]")
    else:
        while True:
            yield reading.value()
            if reading.next_character() != ",":
                break
            reading.skip(",")
        reading.skip("]")
    if reading.next_character():
        raise UserError(f"{file.path}: more than one JSON value, the first a list; write one list of objects")


class _Reading:
    """JSON read from left to right. State: the text from the value that is being read on, and where it begins in the file."""

    def __init__(self, file: TextFile) -> None:
        self._path = file.path
        self._pieces = file.pieces()
        self._text, self._place, self._line = "", 0, 1
        self._decoder = json.JSONDecoder()
        self._ended = False

    def next_character(self) -> str:
        """What stands next but for spaces, "" at the end; nothing is taken."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in _SPACE:
                self._place += 1
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more():
                return ""

    def skip(self, mark: str) -> None:
        """Take `mark`. Raises UserError where anything else stands there."""
        if self.next_character() != mark:
            self._refuse(f"Expecting {mark!r}", self._place)
        self._place += 1

    def value(self) -> object:
        """Take a value. Raises UserError where there is none."""
        self.next_character()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                sure = error.pos < len(self._text) - _UNSURE and not error.msg.startswith("Unterminated")
                if sure or not self._more():
                    self._refuse(error.msg, min(error.pos, len(self._text)))
            except (ValueError, RecursionError) as error:
                raise _unreadable_value(error, f"{self._path} line {self._line_at(self._place)}") from None
            else:
                if end < len(self._text) or not self._more():  # a number may go on in the next piece
                    self._place = end
                    return value

    def _more(self) -> bool:
        """Read on, as much again as there is; False at the end of the file."""
        wanted = len(self._text) - self._place
        pieces = [self._text[self._place :]]
        read = 0
        while not self._ended and read <= wanted:
            piece = next(self._pieces, "")
            self._ended = not piece
            pieces.append(piece)
            read += len(piece)
        self._line = self._line_at(self._place)
        self._text, self._place = "".join(pieces), 0
        return read > 0

    def _line_at(self, place: int) -> int:
        return self._line + self._text.count("\n", 0, place)

    def _refuse(self, reason: str, place: int) -> NoReturn:
        raise UserError(f"{self._path} line {self._line_at(place)}: not JSON ({reason}); fix it there")


def _read_whole(file: TextFile, max_rows: int | None) -> Table:
    """A file of one object with the rows in it, or of several objects over several lines each."""
    reading, values = _Reading(file), list[object]()
    while reading.next_character():
        values.append(reading.value())
    if len(values) > 1:
        rows = ((number, _object(row, f"{file.path} row {number}")) for number, row in enumerate(values, start=1))
        return _table(islice(rows, max_rows), "row", (*file.notes, "the file has one JSON object after another"))
    (value,) = values
    wanted = 'write a list of objects like [{"text": "...", "label": "..."}], or {"data": [...]}'
    if not isinstance(value, dict):
        raise UserError(f"{file.path}: not a list of rows; {wanted}")
    if why := why_no_rows(value):
        raise UserError(f"{file.path}: {why}")
    listed = value.get("data")
    if not isinstance(listed, list):
        raise UserError(f"{file.path}: {rows_under(value) or f'not a list of rows but one object; {wanted}'}")
    if not listed:
        raise UserError(f"{file.path}: the list has no rows; add objects with a text and a label each")
    rows = ((number, _object(row, f"{file.path} row {number}")) for number, row in enumerate(listed, start=1))
    others = other_lists(value)
    told = (f"rows are read from 'data'; not used: {others}",) if others else ()
    return _table(islice(rows, max_rows), "row", (*file.notes, *told))


def _table(rows: Iterator[_Row], unit: str, notes: tuple[str, ...]) -> Table:
    columns: dict[str, list[object]] = {}
    known: dict[str, str] = {}
    lines: list[int] = []
    for number, row in rows:
        for key in row:
            if key not in columns:
                columns[key] = [None] * len(lines)
        for key, cells in columns.items():
            cell = row.get(key)
            cells.append(held_once(cell, known) if isinstance(cell, str) else cell)
        lines.append(number)
    return Table(columns, lines, unit=unit, notes=list(notes))


def _parse(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error.msg} at character {error.colno}); fix it there") from None
    except (ValueError, RecursionError) as error:
        raise _unreadable_value(error, where) from None


def _unreadable_value(error: Exception, where: str) -> UserError:
    """The error to raise for a number of thousands of digits, or brackets thousands deep."""
    reason = "nested too deeply" if isinstance(error, RecursionError) else "a number is too long"
    return UserError(f"{where}: not JSON that can be read ({reason}); fix it there")


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        kind = {"list": "a list", "str": "a string", "NoneType": "null"}.get(type(value).__name__, "a bare value")
        raise UserError(f'{where}: {kind}, not an object; write each row like {{"text": "...", "label": "..."}}')
    return value
