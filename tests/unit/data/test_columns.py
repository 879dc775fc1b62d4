"""Columns as named, or guessed and said."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxtune.data.examples import Examples
from proxtune.errors import UserError
from proxtune.tasks.classification.reader import read_examples


def read(folder: Path, content: str, name: str = "a.csv", **options: object) -> Examples:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return read_examples(str(path), **options)


def fails(folder: Path, content: str, name: str = "a.csv", **options: object) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, content, name, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


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
def test_usual_names(tmp_path: Path, header: str, text: str, label: str) -> None:
    width = header.count(",") + 1
    examples = read(tmp_path, f"{header}\n{','.join(['v'] * width)}\n")
    assert (examples.text_column, examples.label_column) == (text, label)
    assert examples.notes == [
        f"text from column {text!r}, label from column {label!r} (guessed; --text-column/--label-column to change)"
    ]


def test_named_columns_are_taken_and_not_called_guesses(tmp_path: Path) -> None:
    content = "text,label,other,kind\nt,l,o,k\n"
    examples = read(tmp_path, content, text_column="other", label_column="kind")
    assert (examples.texts, examples.labels, examples.notes) == (["o"], ["k"], [])
    examples = read(tmp_path, content, text_column="other")
    assert examples.notes == ["label from column 'label' (guessed; --label-column to change)"]
    assert read(tmp_path, content, label_column="text").text_column != "text"


def test_by_content_where_no_name_is_known(tmp_path: Path) -> None:
    rows = "".join(f"{n * 111111111111},{'yes' if n % 2 else 'no'},a film of {n} parts\n" for n in range(1, 9))
    examples = read(tmp_path, f"id,liked,opinion\n{rows}")
    assert (examples.text_column, examples.label_column) == ("opinion", "liked")
    assert "guessed" in examples.notes[0]


def test_typed_columns_by_content(tmp_path: Path) -> None:
    rows = "".join(f'{{"n": {n}, "opinion": "film {n}", "kind": {n % 2}, "tags": ["a"]}}\n' for n in range(1, 7))
    examples = read(tmp_path, rows, "a.jsonl")
    assert (examples.text_column, examples.labels[:2]) == ("opinion", ["1", "0"])


@pytest.mark.parametrize(
    "content",
    [
        "I loved every minute of it all,positive\nI did not,negative\n",
        "good,positive\nbad,negative\nfine,positive\n",
        "good,1\nbad,0\n",
    ],
)
def test_a_file_without_a_header(tmp_path: Path, content: str) -> None:
    message = fails(tmp_path, content)
    assert "looks like a row, not a header; add a header line" in message
    assert "--text-column" in message


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    content = "text,label\nx,a\n"
    assert "no column 'txt' for --text-column; there are 'text', 'label'" in fails(tmp_path, content, text_column="txt")
    assert "no column 'y' for --label-column" in fails(tmp_path, content, label_column="y")
    assert "cannot both be" in fails(tmp_path, content, text_column="text", label_column="text")
    wide = ",".join(f"column{n}" for n in range(30))
    assert "and 10 more" in fails(tmp_path, f"{wide}\n{wide}\n", text_column="z")


def test_no_label_column(tmp_path: Path) -> None:
    content = "text,author\nx,Ann\ny,Bea\n"
    assert "no label column among 'text', 'author'; name it with --label-column" in fails(tmp_path, content)
    examples = read(tmp_path, content, need_labels=False)
    assert (examples.labels, examples.label_column) == ([], None)


def test_no_text_column(tmp_path: Path) -> None:
    assert "no text column among 'a', 'label'; name it" in fails(tmp_path, '{"a": 1, "label": "x"}', "a.jsonl")


def test_labels_that_are_not_needed_may_be_missing(tmp_path: Path) -> None:
    content = "text,label\nx,a\ny,\n"
    examples = read(tmp_path, content, need_labels=False)
    assert (examples.texts, examples.labels, examples.label_column) == (["x", "y"], [], None)
    assert "no label" in fails(tmp_path, content, need_labels=False, label_column="label")
    nested = '{"text": "x", "output": {"a": 1}}'
    assert read(tmp_path, nested, "a.jsonl", need_labels=False).labels == []
