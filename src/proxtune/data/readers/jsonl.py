"""JSON and JSON-lines files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from proxtune.data.table import Table, empty_file, text_lines
from proxtune.errors import UserError


def _table(rows: Iterator[tuple[int, dict[str, object]]], unit: str) -> Table:
    columns: dict[str, list[object]] = {}
    lines: list[int] = []
    for number, row in rows:
        for key in row:
            if key not in columns:
                columns[key] = [None] * len(lines)
        for key, cells in columns.items():
            cells.append(row.get(key))
        lines.append(number)
    return Table(columns, lines, unit=unit)


def _parse(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error.msg} at character {error.colno}); fix it there") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets thousands deep
        reason = "nested too deeply" if isinstance(error, RecursionError) else "a number is too long"
        raise UserError(f"{where}: not JSON that can be read ({reason}); fix it there") from None


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        kind = {"list": "a list", "str": "a string", "NoneType": "null"}.get(type(value).__name__, "a bare value")
        raise UserError(f'{where}: {kind}, not an object; write each row like {{"text": "...", "label": "..."}}')
    return value


def read_jsonl(path: Path, max_rows: int | None = None) -> Table:
    """A file with one JSON object a line, or its first rows. Raises UserError."""

    def rows() -> Iterator[tuple[int, dict[str, object]]]:
        for number, line in enumerate(text_lines(path), start=1):
            if line.strip():
                where = f"{path} line {number}"
                yield number, _object(_parse(line, where), where)

    table = _table(islice(rows(), max_rows), "line")
    if not table.lines:
        raise empty_file(path)
    return table


def read_json(path: Path, max_rows: int | None = None) -> Table:
    """A JSON file that is a list of objects, or `{"data": [...]}`, or its first rows (all are read). Raises UserError."""
    text = "".join(text_lines(path))
    if not text.strip():
        raise empty_file(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and error.lineno > 1:
            advice = "if it has one object a line, name it .jsonl"
            raise UserError(f"{path}: more than one JSON value; {advice}") from None
        raise UserError(f"{path} line {error.lineno}: not JSON ({error.msg}); fix it there") from None
    except (ValueError, RecursionError):
        value = _parse(text, str(path))
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    if not isinstance(value, list):
        wanted = 'a list of objects like [{"text": "...", "label": "..."}], or {"data": [...]}'
        raise UserError(f"{path}: not a list of rows; write {wanted}")
    if not value:
        raise UserError(f"{path}: the list has no rows; add objects with a text and a label each")
    rows = ((number, _object(row, f"{path} row {number}")) for number, row in enumerate(value[:max_rows], start=1))
    return _table(rows, "row")
