"""Columns as named, or guessed and said."""

from __future__ import annotations

import pytest

from proxtune.data.columns import Columns, choose_columns, find_column
from proxtune.data.readers.delimited import read_csv
from proxtune.data.readers.jsonl import read_jsonl
from proxtune.data.table import Table
from support.files import Write, refusal

GUESSED = "(guessed; --text-column/--label-column to change)"


def table(**columns: list[object]) -> Table:
    return Table(columns=columns, lines=list(range(1, len(next(iter(columns.values()))) + 1)))


def columns_of(table: Table, **options: object) -> Columns:
    return choose_columns(table, "a.csv", **options)


def fails(table: Table, **options: object) -> str:
    return refusal(choose_columns, table, "a.csv", **options)


@pytest.mark.parametrize(
    ("header", "text", "label"),
    [
        ("review,sentiment", "review", "sentiment"),
        ("stars,body", "body", "stars"),
        ("Label,Sentence", "Sentence", "Label"),
        ("Comment Text,class", "Comment Text", "class"),
        ("title,text,label,label_text", "text", "label"),
        ("content,y", "content", "y"),
    ],
)
def test_usual_names(header: str, text: str, label: str) -> None:
    found = columns_of(table(**{name: ["v"] for name in header.split(",")}))
    assert found == Columns(text, label, f"text from column {text!r}, label from column {label!r} {GUESSED}")


def test_named_columns_are_taken_and_not_called_guesses() -> None:
    rows = table(text=["t"], label=["l"], other=["o"], kind=["k"])
    assert columns_of(rows, text_column="other", label_column="kind") == Columns("other", "kind", None)
    note = "label from column 'label' (guessed; --label-column to change)"
    assert columns_of(rows, text_column="other") == Columns("other", "label", note)
    assert columns_of(rows, label_column="text").text != "text"


def test_by_content_where_no_name_is_known(write: Write) -> None:
    rows = "".join(f"{n * 111111111111},{'yes' if n % 2 else 'no'},a film of {n} parts\n" for n in range(1, 9))
    found = columns_of(read_csv(write("a.csv", f"id,liked,opinion\n{rows}")))
    assert (found.text, found.label) == ("opinion", "liked")
    assert found.note is not None


def test_a_column_that_is_almost_empty_is_no_label() -> None:
    kinds: list[object] = [["tax", "law", "sport"][n % 3] for n in range(12)]
    opinions: list[object] = [f"a letter of {n} pages" for n in range(12)]
    notes: list[object] = ["x", "x", "y", "y", *[""] * 4, *[None] * 4]
    assert columns_of(table(opinion=opinions, remark=notes, kind=kinds)).label == "kind"


def test_answers_to_choose_from_are_said_to_be_unused() -> None:
    rows = table(question=["which?"] * 4, choices=[["a", "b"]] * 4, label=["0", "1", "0", "1"])
    assert "not used: 'choices'" in str(columns_of(rows).note)


def test_typed_columns_by_content(write: Write) -> None:
    rows = "".join(f'{{"n": {n}, "opinion": "film {n}", "kind": {n % 2}, "tags": ["a"]}}\n' for n in range(1, 7))
    found = columns_of(read_jsonl(write("a.jsonl", rows)))
    assert (found.text, found.label) == ("opinion", "kind")


def test_a_column_of_too_many_values_is_no_label() -> None:
    words: list[object] = [f"word {n}" for n in range(60)]
    ids: list[object] = [n // 2 for n in range(102)]
    assert "no label column" in fails(table(text=words, number=list(range(60))))
    assert "no label column" in fails(table(text=[f"word {n}" for n in range(102)], number=ids))


@pytest.mark.parametrize(
    "content",
    [
        "I loved every minute of it all,positive\nI did not,negative\n",
        "good,positive\nbad,negative\nfine,positive\n",
        "good,1\nbad,0\n",
    ],
)
def test_a_file_without_a_header(write: Write, content: str) -> None:
    message = fails(read_csv(write("a.csv", content)))
    assert "looks like a row, not a header; add a header line" in message
    assert "--text-column" in message


def test_columns_that_are_not_there() -> None:
    rows = table(text=["x"], label=["a"])
    assert "a.csv: no column 'txt' for --text-column; there are 'text', 'label'" in fails(rows, text_column="txt")
    assert "no column 'y' for --label-column" in fails(rows, label_column="y")
    assert "cannot both be" in fails(rows, text_column="text", label_column="text")
    wide = table(**{f"column{n}": ["v"] for n in range(30)}, **{"n" * 50: ["v"]})
    assert "and 11 more" in fails(wide, text_column="z")
    assert f"there are '{'n' * 37}...'" in fails(table(**{"n" * 50: ["v"]}), text_column="z")


def test_no_label_column() -> None:
    rows = table(text=["x", "y"], author=["Ann", "Bea"])
    assert "no label column among 'text', 'author'; name it with --label-column" in fails(rows)
    assert columns_of(rows, need_labels=False).label is None


def test_no_text_column() -> None:
    assert "no text column among 'a', 'label'; name it" in fails(table(a=[1], label=["x"]))


def test_the_first_known_name_is_found_and_the_taken_one_left_aside() -> None:
    rows = table(**{"Label Text": ["x"], "label-name": ["y"], "other": ["z"]})
    known = ("label_name", "label_text")
    assert find_column(rows, known) == "label-name"
    assert find_column(rows, known, "label-name") == "Label Text"
    assert find_column(rows, ("topic",)) is None
