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
from proxtune.tasks.classification.reader import (
    read_examples,
    read_new_rows,
    read_split,
    sorted_labels,
    typed_rows,
)
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


def test_a_column_of_a_name_that_comes_twice_is_not_taken_in_silence(write: Write) -> None:
    path = write("a.csv", "text,label,id,id,text\nx,a,1,2,z\ny,b,2,3,w\n")
    assert "two columns are called 'text', and they differ" in fails(path)
    found = read_examples(str(path), text_column="text.1")
    assert found.texts == ["z", "w"]
    assert "two columns are called 'id': the second is read as 'id.1'" in found.notes


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
        ("a.jsonl", '{"text": "x", "label": ["a"]}', "line 1 (the label in column 'label' is a list)"),
        ("a.jsonl", '{"text": {"en": "x"}, "label": "a"}', "line 1 (the text in column 'text' is an object)"),
        ("a.json", '[{"text": "x", "label": "a"}, {"text": ["y"]}]', "row 2 (the text in column 'text' is a list)"),
        (
            "a.csv",
            "text,label\nx,\ny,a\nz, \n",
            "2 of 3 rows cannot be used: line 2 (no label in column 'label'), line 4",
        ),
        ("a.csv", "text,label\n" + ",a\n" * 7, "none of 7 rows can be used: line 2 (no text in column 'text'), line 3"),
        ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": "y"}', "train with --bad-rows skip to leave such rows out"),
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


def test_rows_that_cannot_be_used_are_left_out_where_that_is_asked_for(write: Write) -> None:
    path = write("a.csv", "text,label\nx,a\n,b\ny,\nz,b\n")
    examples = read_examples(str(path), bad_rows="skip")
    assert (examples.texts, examples.labels, examples.lines) == (["x", "z"], ["a", "b"], [2, 5])
    assert examples.notes[-1] == (
        "left out 2 of 4 rows: line 3 (no text in column 'text'), line 4 (no label in column 'label')"
    )
    assert "--bad-rows drop: say fail or skip" in fails(path, bad_rows="drop")


def test_labels_are_joined_and_that_is_noted(write: Write) -> None:
    examples = read_examples(str(write("a.csv", "text,label\nu,pos\nv,Pos \nw,neg\nx,pos\n")))
    assert examples.labels == ["pos", "pos", "neg", "pos"]
    assert examples.notes[-1].endswith("'Pos' (1) as 'pos'")


PAIRS = "premise,hypothesis,label\na b,c d,same\ne f,g h,other\n"


def test_pairs_of_texts_by_their_usual_names_or_as_named(write: Write) -> None:
    found = read_examples(str(write("a.csv", PAIRS)))
    assert (found.texts, found.second_texts, found.text_columns) == (
        ["a b", "e f"], ["c d", "g h"], ("premise", "hypothesis")
    )  # fmt: skip
    assert found.notes[0].startswith(
        "pairs of texts from columns 'premise' and 'hypothesis', label from column 'label'"
    )
    named = read_examples(str(write("a.csv", PAIRS)), text_column="hypothesis, premise", label_column="label")
    assert (named.texts, named.second_texts, named.notes) == (found.second_texts, found.texts, [])
    one = read_examples(str(write("a.csv", PAIRS)), text_column="premise")
    assert one.second_column is None
    assert "not used: 'hypothesis' (--text-column 'premise,hypothesis' for pairs of texts)" in one.notes[0]
    half = write("b.csv", PAIRS.replace("g h", ""))
    assert "line 3 (no text in column 'hypothesis')" in fails(half)


def test_another_column_of_sentences_is_named_where_it_is_not_used(write: Write) -> None:
    rows = "".join(f"{n},headline number {n} of all,a long description {n} of it,{'ab'[n % 2]}\n" for n in range(6))
    notes = read_examples(str(write("a.csv", f"id,Title,Description,Class Index\n{rows}"))).notes
    assert "text from column 'Description'" in notes[0]
    assert "not used: 'Title' (--text-column 'Description,Title' for pairs of texts)" in notes[0]


def test_new_rows_in_the_columns_that_were_learned(write: Write) -> None:
    path = write("a.csv", "v2,notes,v1\nx,a longer remark on it,a\n,b b,b\n")
    rows = read_new_rows(str(path), text_column="v2")
    assert rows is not None
    assert (rows.texts, rows.blank, rows.labels) == (["x"], (1,), [])
    assert rows.notes == [
        "text from column 'v2', as the run learned it", "1 of 2 rows have no text (line 3): their answers are left empty"
    ]  # fmt: skip
    assert "no column 'text', which the run learned from; there are 'v2', 'notes', 'v1'" in refusal(
        read_new_rows, str(path), text_column="text"
    )
    assert "cannot be used: line 3 (no text" in refusal(read_new_rows, str(path), text_column="v2", label_column="v1")
    pair = read_new_rows(str(path), text_column="v2\tnotes", label_column="v1", bad_rows="skip")
    assert pair is not None
    assert (pair.second_texts, pair.labels) == (["a longer remark on it"], ["a"])
    assert "no column 'w', which" in refusal(read_new_rows, str(path), text_column="v2\tw")
    assert read_new_rows(str(path.parent), split="test", text_column="v2") is None


def test_a_single_column_is_taken_whatever_its_name(write: Write) -> None:
    rows = read_new_rows(str(write("a.csv", "message\nx\n")), text_column="v2")
    assert rows is not None
    assert rows.notes == ["text from column 'message', the only one (the run learned from 'v2')"]
    assert "none of 1 rows has a text" in refusal(read_new_rows, str(write("c.csv", 'v2\n" "\n')), text_column="v2")


def test_typed_texts() -> None:
    assert typed_rows(["a", "cut \ud83d"], "text, as written").texts == ["a", "cut \ufffd"]
    pair = typed_rows(["a ||| b"], "one\ttwo")
    assert (pair.texts, pair.second_texts, pair.second_column) == (["a"], ["b"], "two")
    assert "'a' is one text, and the run learned from pairs: write 'one ||| two'" in refusal(
        typed_rows, ["a"], "one\ttwo"
    )


def test_numbers_that_are_learned_as_classes_are_noted_once(write: Write) -> None:
    path = write("a.csv", "text,label\n" + "".join(f"t {n},{n % 4 + 0.25}\n" for n in range(12)))
    assert "they are learned as 4 classes, not as numbers" in read_examples(str(path)).notes[-1]
    validation = read_new_rows(str(path), text_column="text", label_column="label")
    assert validation is not None
    assert not any("as numbers" in note for note in validation.notes)


def test_a_text_of_invisible_characters_is_no_text(write: Write) -> None:
    path = write("a.csv", "text,label\n\u200b,a\n\u2060\ufeff,b\n\u00ad ,a\nx,\u200b\nx,b\n")
    assert "4 of 5 rows cannot be used: line 2 (no text in column 'text'), line 3 (no text" in fails(path)
    rows = read_new_rows(str(path), text_column="text")
    assert rows is not None
    assert (rows.texts, rows.blank) == (["x", "x"], (0, 1, 2))
    assert read_examples(str(write("b.csv", "text,label\nx,a\n\u200b\ny,b\n"))).texts == ["x", "y"]


@pytest.mark.parametrize("first", ["I saw it twice and was glad of it", "good film", "1", '""', "\n\ngood film"])
@pytest.mark.parametrize("learned", ["v2", None])
def test_the_first_of_texts_alone_is_not_lost(write: Write, first: str, learned: str | None) -> None:
    path = write("a.csv", f"{first}\nAnd so was she\nx\n")
    rows = read_new_rows(str(path), text_column=learned)
    assert rows is not None
    wanted = [first.strip().strip('"'), "And so was she", "x"]
    assert rows.texts == wanted[first == '""' :]
    assert rows.blank == ((0,) if first == '""' else ())
    assert rows.lines[-1] == path.read_text().count("\n")
    assert "names no column of texts, so it is a text; if it is a header, write" in rows.notes[0]


@pytest.mark.parametrize("header", ["v2", "V2", "Review Text", "message", "tweet_text", "sep=,\ntext"])
def test_a_header_above_texts_alone_is_no_text(write: Write, header: str) -> None:
    rows = read_new_rows(str(write("a.csv", f"{header}\nx\ntext\n")), text_column="v2")
    assert rows is not None
    assert (rows.texts, len(rows.notes)) == (["x", "text"], 1)


def test_one_column_is_no_pair(write: Write) -> None:
    assert "no column 'one', which the run learned from; there are 'good film'" in refusal(
        read_new_rows, str(write("a.csv", "good film\nx\n")), text_column="one\ttwo"
    )
    alone = refusal(read_new_rows, str(write("b.csv", "good film\n")), text_column="text")
    assert "no rows; add rows below it; if it is a text, write a header such as `text` above 'good film'" in alone
