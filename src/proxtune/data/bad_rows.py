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


def reject_or_skip(table: Table, source: str, bad: list[tuple[int, str]], bad_rows: str) -> list[str]:
    """The notes on the `bad` rows, (line, reason) each, that are left out; raises UserError where they are not to be."""
    if not bad:
        return []
    counted = f"{len(bad):,} of {len(table.lines):,} rows"
    shown = ", ".join(f"{table.unit} {line} ({why})" for line, why in bad[:_SHOWN]) + (
        ", ..." if len(bad) > _SHOWN else ""
    )
    if len(bad) == len(table.lines):
        raise UserError(f"{source}: none of {len(bad):,} rows can be used: {shown}; fix them, or name other columns")
    if bad_rows == "fail":
        raise UserError(
            f"{source}: {counted} cannot be used: {shown}; fix them, or leave them out with --bad-rows skip"
        )
    return [f"left out {counted}: {shown}"]
