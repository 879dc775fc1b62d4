"""A text file as a table: named columns of raw cells, and the line where each row begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from proxtune.errors import UserError


@dataclass(frozen=True, slots=True)
class Table:
    """Cells by column, as the file typed them; None where a row has no such cell."""

    columns: dict[str, list[object]]
    lines: list[int]
    unit: str = "line"  # what `lines` counts: "line" or "row"
    has_header: bool = False  # the names came from a first line, which may turn out to be a row
    notes: list[str] = field(default_factory=list)


def unreadable(path: Path, error: OSError) -> UserError:
    """The error to raise where the system will not open or read `path`."""
    if isinstance(error, PermissionError):
        return UserError(f"{path}: permission denied; allow reading with `chmod u+r`, or give a copy of your own")
    reason = error.strerror or type(error).__name__
    return UserError(f"{path}: cannot be read ({reason}); check the file or give a copy")


def _not_utf8(path: Path) -> UserError:
    # The decoder works in chunks, so its own offset is of no use: find the place again, line by line.
    advice = "convert it, for example with `iconv -f latin1 -t utf-8`"
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                return UserError(f"{path}: is UTF-16, not UTF-8; convert it with `iconv -f utf-16 -t utf-8`")
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return UserError(f"{path}: not UTF-8 at byte {offset + error.start} (line {number}); {advice}")
            offset += len(line)
    return UserError(f"{path}: not UTF-8; {advice}")


def text_lines(path: Path) -> Iterator[str]:
    """Lines with their ends, a byte-order mark skipped. Raises UserError where the file is not UTF-8 text."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, start=1):
                if "\0" in line:
                    hint = "it is no text file, or is UTF-16 (then convert it with `iconv -f utf-16 -t utf-8`)"
                    raise UserError(f"{path} line {number}: holds a NUL byte; {hint}")
                yield line
    except UnicodeDecodeError:
        raise _not_utf8(path) from None
    except OSError as error:
        raise unreadable(path, error) from None


def empty_file(path: Path) -> UserError:
    """The error to raise for a file with nothing in it."""
    return UserError(f"{path}: the file is empty; give one with a text and a label in each row")
