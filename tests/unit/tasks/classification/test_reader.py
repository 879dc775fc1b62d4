"""Any source → examples: labels as words, texts as they are, and what is wrong with a row told in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.data.examples import Examples
from proxtune.errors import UserError
from proxtune.samples import movies_path
from proxtune.tasks.classification.reader import read_examples, read_split, sorted_labels
from support.files import Write, refusal


def fails(path: Path, **options: object) -> str:
    return refusal(read_examples, str(path), **options)


def labelled(*labels: str) -> Examples:
    return Examples(["x"] * len(labels), list(labels), "a.csv", list(range(len(labels))), "text", "label")


def test_the_bundled_movies() -> None:
    examples = read_examples(str(movies_path("train")))
    assert (len(examples), examples.labels.count("positive")) == (8005, 4023)
    assert len(read_examples(str(movies_path("test")))) == 1000
    assert (movies_path().parent / "LICENSE").is_file()
    with pytest.raises(UserError, match="train"):
        movies_path("../train")


pieces = st.sampled_from(
    [b"text,label\n", b"text\tlabel\n", b'{"text": "a", "label": ', b'"b"}', b"\n", b'"', b",", b"["]
)
junk = st.one_of(st.binary(max_size=60), st.lists(st.one_of(pieces, st.binary(max_size=4)), max_size=8).map(b"".join))


@settings(max_examples=300)
@given(junk, st.sampled_from(["csv", "tsv", "jsonl", "json"]), st.booleans())
def test_any_bytes_give_examples_or_a_line_for_the_user(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str, need: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / f"junk.{kind}"
    path.write_bytes(content)
    told, examples = None, None
    try:
        examples = read_examples(str(path), need_labels=need)
    except UserError as error:
        told = str(error)
    if examples is None:
        assert told is not None
        assert len(told.splitlines()) == 1
    else:
        assert len(examples.texts) == len(examples.lines) >= 1
        assert all(text.strip() for text in examples.texts)


def test_labels_become_words_and_texts_stay_as_they_are(write: Write) -> None:
    values = [True, False, 1, 1.0, 0.5, " good "]
    path = write("a.jsonl", "".join(json.dumps({"text": " t ", "label": value}) + "\n" for value in values))
    examples = read_examples(str(path))
    assert examples.labels == ["true", "false", "1", "1", "0.5", "good"]
    assert set(examples.texts) == {" t "}
    assert (examples.text_column, examples.label_column, examples.lines) == ("text", "label", [1, 2, 3, 4, 5, 6])


def test_a_guess_is_noted_behind_what_the_reader_noted(write: Write) -> None:
    notes = read_examples(str(write("a.csv", "text;label\nx;a\n"))).notes
    assert notes[0] == "columns are parted by semicolons, not commas"
    assert notes[1].startswith("text from column 'text', label from column 'label' (guessed")


def test_half_a_character_is_replaced_and_noted(write: Write) -> None:
    examples = read_examples(str(write("a.jsonl", '{"text": "cut \\ud83d", "label": "a\\ud83d"}')))
    assert (examples.texts, examples.labels) == (["cut \ufffd"], ["a\ufffd"])
    assert "half a character" in examples.notes[-1]


def test_labels_that_are_not_needed_may_be_missing(write: Write) -> None:
    path = write("a.csv", "text,label\nx,a\ny,\n")
    examples = read_examples(str(path), need_labels=False)
    assert (examples.texts, examples.labels, examples.label_column) == (["x", "y"], [], None)
    assert "no label" in fails(path, need_labels=False, label_column="label")
    nested = write("a.jsonl", '{"text": "x", "output": {"a": 1}}')
    assert read_examples(str(nested), need_labels=False).labels == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", '{"text": "x", "label": ["a"]}', "line 1: the label in column 'label' is a list"),
        ("a.jsonl", '{"text": {"en": "x"}, "label": "a"}', "line 1: the text in column 'text' is an object"),
        ("a.json", '[{"text": "x", "label": "a"}, {"text": ["y"]}]', "row 2: the text in column 'text' is a list"),
        ("a.csv", "text,label\nx,\ny,a\nz, \n", "no label in column 'label' in 2 of 3 rows (lines 2, 4); fill"),
        ("a.csv", "text,label\n" + ",a\n" * 7, "no text in column 'text' in 7 of 7 rows (lines 2, 3, 4, 5, 6, ...)"),
        ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": "y"}', "1 of 2 rows (line 2)"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(write: Write, name: str, content: str, says: str) -> None:
    assert says in fails(write(name, content))


def test_a_folder_has_its_own_splits(write: Write, tmp_path: Path) -> None:
    write("train.csv", "text,label\nlearn,a\n")
    write("dev.csv", "body,kind\nread me,a\n")
    validation = read_split(str(tmp_path), "validation", text_column="body", label_column="kind")
    assert validation is not None
    assert (validation.texts, validation.labels) == (["read me"], ["a"])
    assert read_split(str(tmp_path), "test") is None


def test_numbers_are_sorted_by_size_before_words() -> None:
    assert sorted_labels(labelled("10", "2", "b", "-1.5", "a", "2")) == ["-1.5", "2", "10", "a", "b"]
