"""Rows that cannot be learned from: counted, shown with their lines, and refused or left out."""

from __future__ import annotations

from proxtune.data.table import Table
from proxtune.errors import UserError

BAD_ROWS = ("fail", "skip")
_SHOWN = 5  # lines in a message


class BadRow(Exception):
    """A row that is no use; the message says why in a few words."""


class Missing(BadRow):
    """A row that says nothing where it should."""


def check_bad_rows(bad_rows: str) -> None:
    """Raises UserError where `bad_rows` is no choice that there is."""
    if bad_rows not in BAD_ROWS:
        raise UserError(f"--bad-rows {bad_rows}: say {' or '.join(BAD_ROWS)}")


class BadRows:
    """The rows that are no use. State: how many there were, and the first few with their lines."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[tuple[int, str]] = []

    def add(self, line: int, why: BadRow) -> None:
        """Count a row; of a file with millions only the first are kept."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append((line, str(why)))


def reject_or_skip(table: Table, source: str, bad: BadRows, bad_rows: str) -> list[str]:
    """The notes on the `bad` rows that are left out; raises UserError where they are not to be."""
    if not bad.count:
        return []
    counted = f"{bad.count:,} of {len(table.lines):,} rows"
    shown = ", ".join(f"{table.unit} {line} ({why})" for line, why in bad.first)
    shown += ", ..." if bad.count > len(bad.first) else ""
    if bad.count == len(table.lines):
        raise UserError(f"{source}: none of {bad.count:,} rows can be used: {shown}; fix them, or name other columns")
    if bad_rows == "fail":
        advice = "fix them, or train with --bad-rows skip to leave such rows out"
        raise UserError(f"{source}: {counted} cannot be used: {shown}; {advice}")
    return [f"left out {counted}: {shown}"]
