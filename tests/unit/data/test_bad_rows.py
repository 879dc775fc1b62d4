"""Rows that cannot be used: counted and shown with their lines, refused or left out."""

import pytest

from proxtune.data.bad_rows import BadRow, BadRows, check_bad_rows, reject_or_skip
from proxtune.data.table import Table
from support.files import refusal


def bad_rows_of(*rows: tuple[int, str]) -> BadRows:
    bad = BadRows()
    for line, why in rows:
        bad.add(line, BadRow(why))
    return bad


BAD = bad_rows_of((2, "no text"), (5, "a list"))
MANY = bad_rows_of(*((line, "no text") for line in range(1, 8)))


def table(rows: int, unit: str = "line") -> Table:
    return Table(columns={"text": [""] * rows}, lines=list(range(1, rows + 1)), unit=unit)


@pytest.mark.parametrize("bad_rows", ["fail", "skip"])
def test_good_rows_need_no_word(bad_rows: str) -> None:
    check_bad_rows(bad_rows)
    assert reject_or_skip(table(3), "a.csv", BadRows(), bad_rows) == []


def test_a_choice_that_there_is_not() -> None:
    assert refusal(check_bad_rows, "drop") == "--bad-rows drop: say fail or skip"


def test_bad_rows_are_shown_with_their_lines_and_a_way_out() -> None:
    assert refusal(reject_or_skip, table(8), "a.csv", BAD, "fail") == (
        "a.csv: 2 of 8 rows cannot be used: line 2 (no text), line 5 (a list); "
        "fix them, or train with --bad-rows skip to leave such rows out"
    )


def test_bad_rows_that_are_left_out_are_noted() -> None:
    assert reject_or_skip(table(8, "row"), "a.parquet", BAD, "skip") == [
        "left out 2 of 8 rows: row 2 (no text), row 5 (a list)"
    ]


def test_of_many_only_the_first_are_shown() -> None:
    (note,) = reject_or_skip(table(2000), "a.csv", MANY, "skip")
    assert note.startswith("left out 7 of 2,000 rows: line 1 (no text)")
    assert note.endswith("line 5 (no text), ...")


@pytest.mark.parametrize("bad_rows", ["fail", "skip"])
def test_where_no_row_is_left_the_run_cannot_begin(bad_rows: str) -> None:
    message = refusal(reject_or_skip, table(7), "a.csv", MANY, bad_rows)
    assert message.startswith("a.csv: none of 7 rows can be used: line 1 (no text)")
    assert message.endswith("fix them, or name other columns")
