"""The line above a single column: a header if it names a column of texts, the first text otherwise."""

from __future__ import annotations

import pytest

from proxtune.data.header import is_header, keep_first_text
from proxtune.data.table import Table


def table(first: str, *others: object, **options: object) -> Table:
    given = {"has_header": True, "header": (first,), "header_line": 1} | options
    return Table(columns={first.strip() or "column 1": list(others)}, lines=[3, 4][: len(others)], **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "learned", "named"),
    [
        ("text", "v2", True),
        (" Text ", "v2", True),
        ("Review Text", None, True),
        ("V2", "v2", True),
        ("customer_comment", "v2", True),
        ("tweet-text", "v2", True),
        ("v3", "v2", False),
        ("customer comment", "v2", False),
        ("text.", "v2", False),
        ("", "v2", False),
        ("prompt", "v2", False),
    ],
)
def test_what_names_a_column_of_texts(first: str, learned: str | None, named: bool) -> None:
    assert is_header(first, learned) == named
    assert is_header("prompt", learned, ("prompt",))


def test_a_first_line_that_is_no_header_is_the_first_row() -> None:
    found = keep_first_text(table(" good film", "x", "y", notes=["read"]), "review")
    assert (found.columns, found.lines) == ({"review": [" good film", "x", "y"]}, [1, 3, 4])
    assert found.notes[0] == "read"
    assert found.notes[1] == (
        "the first line (' good film') names no column of texts, so it is a text; if it is a header, write 'review' there"
    )
    assert list(keep_first_text(table("x" * 99, "y"), None).columns) == ["text"]
    assert "x" * 37 + "...'" in keep_first_text(table("x" * 99, "y"), None).notes[0]
    assert not found.has_header


def test_a_header_stays_one_and_is_not_asked_about_again() -> None:
    found = keep_first_text(table("message", "message", "y"), "review")
    assert (found.columns, found.has_header, found.notes) == ({"message": ["message", "y"]}, False, [])


def test_other_tables_stay_as_they_are() -> None:
    two = Table({"a": [1], "b": [2]}, [2], has_header=True, header=("a", "b"))
    lines_of_json = Table({"good film": ["x"]}, [1])
    for other, learned in ((two, "review"), (lines_of_json, "review"), (table("good film", "x"), "one\ttwo")):
        assert keep_first_text(other, learned) is other
