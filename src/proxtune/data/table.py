"""A text file as a table: named columns of raw cells, and the line where each row begins."""

from __future__ import annotations

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
    header: tuple[str, ...] = ()  # those names as the file writes them
    header_line: int = 1
    notes: list[str] = field(default_factory=list)
    repeated: dict[str, str] = field(
        default_factory=dict
    )  # names that the header has twice: what the other is called here

    def check_clear(self, source: str, *names: str | None) -> None:
        """Raises UserError where one of the columns `names` is one of two that the header calls the same."""
        for name in names:
            if name in self.repeated:
                raise UserError(
                    f"{source}: two columns are called {name!r}, and they differ; rename one in the header (the second can be "
                    f"chosen as {self.repeated[name]!r})"
                )


def unreadable(path: Path, error: OSError) -> UserError:
    """The error to raise where the system will not open or read `path`."""
    if isinstance(error, PermissionError):
        return UserError(f"{path}: permission denied; allow reading with `chmod u+r`, or give a copy of your own")
    reason = error.strerror or type(error).__name__
    return UserError(f"{path}: cannot be read ({reason}); check the file or give a copy")


def empty_file(path: Path) -> UserError:
    """The error to raise for a file with nothing in it."""
    return UserError(f"{path}: the file is empty; give one with a text and a label in each row")
