"""CSV and TSV files, in the dialects that spreadsheets and databases write them in."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

from proxtune.data.table import Table, empty_file
from proxtune.data.text_file import TextFile, open_text
from proxtune.data.values import held_once, is_blank
from proxtune.errors import UserError

_FIELD_LIMIT = 2**31 - 1  # the most that the csv module takes on every system; its own default is 131,072 characters
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SAMPLE = 100  # lines that a dialect is guessed from
_SHOWN, _LINES_SHOWN = 40, 5  # characters of a text, and lines, in a message
_DECLARED = re.compile(r'"?sep=(.)"?[\r\n]*\Z')  # what spreadsheets write into a first line of its own
_ESCAPED_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)\\"')


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file parts its columns and quotes its texts."""

    delimiter: str
    quotes: bool = True  # a quote at the beginning of a field encloses it
    skips_spaces: bool = False  # between a delimiter and a quote
    backslashes: bool = False  # a quote inside a quoted text is written \", not ""


class _Refused(UserError):
    """A dialect that a file is not written in: `rows` of them were read before the one that does not fit."""

    def __init__(self, message: str, rows: int = 0) -> None:
        super().__init__(message)
        self.rows = rows


def read_csv(path: Path, max_rows: int | None = None) -> Table:
    """A CSV file with a header line, or its first rows. Raises UserError."""
    return _delimited(path, ",", max_rows)


def read_tsv(path: Path, max_rows: int | None = None) -> Table:
    """A TSV file with a header line, or its first rows, whether or not its writer knew of quoting. Raises UserError."""
    return _delimited(path, "\t", max_rows)


def _delimited(path: Path, usual: str, max_rows: int | None) -> Table:
    """The rows in the first dialect in which every line has as many fields as the header."""
    file = open_text(path)
    refused: _Refused | None = None
    former_limit = csv.field_size_limit(_FIELD_LIMIT)
    try:
        for dialect in _dialects(file, usual):
            try:
                table = _read(file, dialect, max_rows)
            except _Refused as error:  # of equals the first: it is the likelier dialect
                likelier = refused is None or error.rows > refused.rows
                refused = error.with_traceback(None) if likelier else refused  # whose frames hold all that was read
            else:
                return replace(table, notes=[*file.notes, *_told(dialect, usual), *table.notes])
    finally:
        csv.field_size_limit(former_limit)
    assert refused is not None, "there is a usual dialect"
    raise refused


def _told(dialect: Dialect, usual: str) -> list[str]:
    if dialect.delimiter == usual:
        return []
    name = _DELIMITERS.get(dialect.delimiter, repr(dialect.delimiter))
    return [f"columns are parted by {name}, not {_DELIMITERS[usual]}"]


def _dialects(file: TextFile, usual: str) -> Iterator[Dialect]:
    """The dialects that the first lines allow, the likeliest first."""
    sample = [line for line in islice(file.lines(), _SAMPLE) if line.strip()]
    if not sample:
        raise empty_file(file.path)
    declared = _DECLARED.match(sample[0])
    if declared is not None:
        delimiters = [declared[1]]
    else:
        others = [mark for mark in _DELIMITERS if mark != usual]
        delimiters = [mark for mark in (usual, *others) if _fields(sample[0], mark) > 1] or [usual]
    made = [dialect for mark in delimiters for dialect in _quotings(mark, sample)]
    yield from made
    if any('\\"' in line for line in file.lines()):
        yield from (replace(dialect, backslashes=True) for dialect in made if dialect.quotes)


def _quotings(delimiter: str, sample: list[str]) -> list[Dialect]:
    plain, bare = Dialect(delimiter), Dialect(delimiter, quotes=False)
    if delimiter == "\t":
        # Most TSV files quote nothing, and there a text that opens with a quote would swallow the rows after it.
        # So lines are rows as long as every line has the header's number of fields, and only then quoted cells are undone.
        return [bare, plain]
    spaced = re.compile(re.escape(delimiter) + r' +"(?!")')
    skipping = replace(plain, skips_spaces=True)
    often = 2 * sum(spaced.search(line) is not None for line in sample) >= len(sample)
    quoted = [skipping, plain] if often else [plain, skipping]
    return [*quoted, bare] if delimiter == "|" else quoted


def _fields(header: str, delimiter: str) -> int:
    if delimiter not in header:
        return 1
    try:
        return len(next(csv.reader([header], delimiter=delimiter), []))
    except csv.Error:  # a return by itself inside the line
        return header.count(delimiter) + 1


def _read(file: TextFile, dialect: Dialect, max_rows: int | None) -> Table:
    """The file in this dialect. Raises UserError where a line does not have as many fields as the header."""
    path, names, width, lines = file.path, list[str](), 0, list[int]()
    columns: list[list[object]] = []
    known: list[dict[str, str]] = []
    reader, begins = _reader(file, dialect)
    skipped, header_line, again = begins - 1, begins, list[int]()
    try:
        for row in reader:
            # A line by itself is blank, but a quoted text of nothing is a row of a single column, and keeps its place.
            if not row or (len(row) == 1 and len(names) != 1 and is_blank(row[0]) and (names or row[0])):
                pass
            elif not names:
                names, width, header_line = row, len(row), begins
            elif width > 1 and row[: len(names)] == names and not any(row[len(names) :]):
                again.append(begins)  # files that were put together; of a single column it may be a text
            else:
                if not columns:
                    names = names[: max(len(row), _filled(names))]
                    columns = [[] for _ in row[: len(names) + 1]]  # a row that is longer is refused below
                    known = [{} for _ in columns]
                if len(row) != len(columns) or not 0 <= len(row) - len(names) <= 1:
                    why = _misfit(row, begins, columns, lines, names, width)
                    raise _Refused(f"{path} {why}", len(lines))
                for column, cell, same in zip(columns, row, known, strict=True):
                    column.append(held_once(cell if dialect.quotes else _unquoted(cell), same))
                lines.append(begins)
                if len(lines) == max_rows:
                    break
            begins = reader.line_num + 1 + skipped
    except csv.Error as error:
        hint = 'close the quote, and write a quote inside a quoted text twice ("")'
        raise _Refused(f"{path} line {begins}: broken quoting ({error}); {hint}", len(lines)) from None
    if not lines and again:  # rows that are all the same, and a header that is one of them
        columns, lines, again = [[name] * len(again) for name in names], again, []
    if not lines:
        hint = f"; if it is a text, write a header such as `text` above {names[0][:_SHOWN]!r}" if width == 1 else ""
        raise _Refused(f"{path}: has a header but no rows; add rows below it{hint}")
    if not dialect.quotes:
        names = [_unquoted(name) for name in names]
    header = tuple(names)
    notes = [_told_again(again)] if again else []
    notes += _fit_names(path, names, columns, lines[0])
    named, repeated, told = _by_name(names, columns)
    return Table(
        columns=named, lines=lines, has_header=True, header=header, header_line=header_line, notes=[*notes, *told],
        repeated=repeated,
    )  # fmt: skip


def _told_again(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:_LINES_SHOWN])) + (", ..." if len(lines) > _LINES_SHOWN else "")
    return f"the header comes again in {'line' if len(lines) == 1 else 'lines'} {shown}, which is left out"


def _reader(file: TextFile, dialect: Dialect) -> tuple[Any, int]:
    """A reader of the rows, and the line that it begins in."""
    lines = file.lines()
    first = next(lines, "")
    declared = _DECLARED.match(first) is not None
    lines = lines if declared else chain([first], lines)
    if dialect.backslashes:
        lines = (_ESCAPED_QUOTE.sub(r'\1""', line) for line in lines)
    # Strict: a quote left open must not swallow the rest of the file in silence.
    reader = csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_MINIMAL if dialect.quotes else csv.QUOTE_NONE,
        skipinitialspace=dialect.skips_spaces,
        strict=True,
    )
    return reader, 2 if declared else 1


def _misfit(
    row: list[str], line: int, columns: list[list[object]], lines: list[int], names: list[str], width: int
) -> str:
    """Which row does not fit, in a sentence: the one at hand, or the ones before it where it is as wide as the header.

    `names` are those of the header, which was `width` fields wide, without empty ones at the end.
    """
    hint = "quote a text that holds the delimiter, or fix the row"
    before = len(columns)
    if lines and before != width == len(row) and not (len(lines) > 1 and _fits(names, columns)):
        return f"line {lines[0]}: {_counted(before)} where the header has {width}; {hint}"
    if lines and before != len(names) and _fits(names, columns):
        return f"line {line}: {_counted(len(row))} where the rows above it have {before}; {hint}"
    return f"line {line}: {_counted(len(row))} where the header has {len(names)}; {hint}"


def _counted(fields: int) -> str:
    return "1 field" if fields == 1 else f"{fields} fields"


def _fits(names: list[str], columns: list[list[object]]) -> bool:
    """Whether columns are as many as names, or one more that holds nothing or the numbers of the rows."""
    return len(columns) == len(names) or not any(columns[-1]) or _are_numbers(columns[0])


def _are_numbers(cells: list[object]) -> bool:
    return len(set(map(str, cells))) == len(cells) and all(str(cell).strip().isdigit() for cell in cells)


def _filled(names: list[str]) -> int:
    """How many names are left without the empty ones at the end."""
    return max((place for place, name in enumerate(names, start=1) if name.strip()), default=0)


def _unquoted(cell: str) -> str:
    if len(cell) >= 2 and cell[0] == cell[-1] == '"':
        inner = cell[1:-1]
        if '"' not in inner.replace('""', ""):
            return inner.replace('""', '"')
    return cell


def _fit_names(path: Path, names: list[str], columns: list[list[object]], line: int) -> list[str]:
    """Make `names` and `columns` fit where rows have a field more; the notes on it. Raises UserError otherwise."""
    if len(columns) == len(names):
        return []
    if not any(columns[-1]):
        columns.pop()
        return ["every row ends in a delimiter that the header does not have; the empty column is left out"]
    if _are_numbers(columns[0]):
        names.insert(0, "")
        return ["every row begins with its number, for which the header has no name"]
    hint = "quote a text that holds the delimiter, or fix the header"
    every = f"line {line}: {len(columns)} fields, as in every row, where the header has {len(names)}"
    raise _Refused(f"{path} {every}; {hint}", len(columns[0]))


def _by_name(
    fields: list[str], columns: list[list[object]]
) -> tuple[dict[str, list[object]], dict[str, str], list[str]]:
    """Columns by name, which of the names are those of two columns, and notes.

    A name that comes again gets a number, as in pandas (`text.1`); a column that is there twice, cell for cell, is kept once.
    """
    named, repeated, notes = dict[str, list[object]](), dict[str, str](), list[str]()
    names = [name.strip() or f"column {place}" for place, name in enumerate(fields, start=1)]
    own, numbers = set(names), defaultdict[str, Iterator[int]](lambda: count(1))
    for name, column in zip(names, columns, strict=True):
        if name not in named:
            named[name] = column
        elif named[name] == column:
            notes.append(f"column {name!r} is there twice, cell for cell: it is read once")
        else:
            other = next(new for number in numbers[name] if (new := f"{name}.{number}") not in own)
            named[other] = column
            repeated.setdefault(name, other)
            notes.append(f"two columns are called {name!r}: the second is read as {other!r}")
    return named, repeated, notes
