"""Any file → examples; whatever is wrong with one is told in a line that says what to do."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.errors import UserError
from proxtune.samples import movies_path
from proxtune.tasks.classification.reader import read_examples
from support.written import Write, fails

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(str.strip)
labels = st.sampled_from(["good", "bad", "so, so", 'a "b"', "ü"])
rows = st.lists(st.tuples(texts, labels), min_size=1, max_size=6)
FEW = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written")


def test_the_bundled_movies() -> None:
    examples = read_examples(str(movies_path("train")))
    assert (len(examples), examples.labels.count("positive")) == (8005, 4023)
    assert len(read_examples(str(movies_path("test")))) == 1000
    assert (movies_path().parent / "LICENSE").is_file()
    with pytest.raises(UserError, match="train"):
        movies_path("../train")


@FEW
@given(rows, st.sampled_from(["\n", "\r\n"]))
def test_csv_reads_back_as_written(folder: Path, rows: list[tuple[str, str]], end: str) -> None:
    path = folder / "round.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        # All quoted, as a writer that ends lines with "\n" leaves a text with "\r" unquoted.
        csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    examples = read_examples(str(path))
    assert list(zip(examples.texts, examples.labels, strict=True)) == rows


@FEW
@given(st.lists(st.tuples(texts.filter(lambda text: "\t" not in text), labels), min_size=1, max_size=6))
def test_tsv_reads_back_as_written(folder: Path, rows: list[tuple[str, str]]) -> None:
    path = folder / "round.tsv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([("text", "label"), *rows])
    examples = read_examples(str(path))
    assert list(zip(examples.texts, examples.labels, strict=True)) == rows


@FEW
@given(rows, st.booleans())
def test_json_reads_back_as_written(folder: Path, rows: list[tuple[str, str]], ascii_only: bool) -> None:
    objects = [{"text": text, "label": label} for text, label in rows]
    lined, listed, wrapped = folder / "r.jsonl", folder / "r.json", folder / "w.json"
    lined.write_text("".join(json.dumps(o, ensure_ascii=ascii_only) + "\n" for o in objects), encoding="utf-8")
    listed.write_text(json.dumps(objects, ensure_ascii=ascii_only), encoding="utf-8")
    wrapped.write_text(json.dumps({"data": objects}), encoding="utf-8")
    for path in (lined, listed, wrapped):
        examples = read_examples(str(path))
        assert list(zip(examples.texts, examples.labels, strict=True)) == rows
        assert examples.lines == list(range(1, len(rows) + 1))


pieces = st.sampled_from(
    [b"text,label\n", b"text\tlabel\n", b'{"text": "a", "label": ', b'"b"}', b"\n", b'"', b",", b"["]
)
junk = st.one_of(st.binary(max_size=60), st.lists(st.one_of(pieces, st.binary(max_size=4)), max_size=8).map(b"".join))


@settings(max_examples=300, deadline=None)
@given(junk, st.sampled_from(["csv", "tsv", "jsonl", "json"]), st.booleans())
def test_any_bytes_give_examples_or_a_line_for_the_person(folder: Path, content: bytes, kind: str, need: bool) -> None:
    path = folder / f"junk.{kind}"
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


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=80), st.sampled_from(["parquet", "arrow"]))
def test_any_bytes_as_parquet_give_a_line_for_the_person(folder: Path, content: bytes, kind: str) -> None:
    pytest.importorskip("pyarrow")
    path = folder / f"junk.{kind}"
    path.write_bytes(b"PAR1" + content + b"PAR1")
    assert "damaged" in fails(path)


def test_lines_are_where_rows_begin(write: Write) -> None:
    path = write("a.csv", '\ntext,label\r\n"two\nlines",a\r\n\r\nb,b\r\n"last, one",a')
    examples = read_examples(str(path))
    assert (examples.lines, examples.texts) == ([3, 6, 7], ["two\nlines", "b", "last, one"])
    assert read_examples(str(write("a.jsonl", '\n{"text": "x", "label": 1}\n\n{"text": "y", "label": 2}'))).lines == [
        2,
        4,
    ]


def test_labels_become_words_and_texts_stay_as_they_are(write: Write) -> None:
    values = [True, False, 1, 1.0, 0.5, " good "]
    path = write("a.jsonl", "".join(json.dumps({"text": " t ", "label": value}) + "\n" for value in values))
    examples = read_examples(str(path))
    assert examples.labels == ["true", "false", "1", "1", "0.5", "good"]
    assert set(examples.texts) == {" t "}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.csv", b"\xef\xbb\xbftext,label\nx,a\n"),
        ("mac.csv", b"text,label\rx,a\r"),
        ("semicolons.csv", b"text;label\nx;a\n"),
        ("tabs.csv", b"text\tlabel\nx\ta\n"),
        ("UPPER.CSV", b"text,label\nx,a\n"),
        ("blank.csv", b"text,label\n\n  \nx,a\n\n"),
        ("bom.jsonl", b'\xef\xbb\xbf{"text": "x", "label": "a"}\r\n'),
        ("extra.ndjson", b'{"text": "x", "label": "a", "tags": ["list"]}'),
    ],
)
def test_kinds_of_files_that_people_have(write: Write, name: str, content: bytes) -> None:
    examples = read_examples(str(write(name, content)))
    assert (examples.texts, examples.labels) == (["x"], ["a"])


def test_a_tsv_that_quotes_nothing_keeps_its_rows_and_quotes(write: Write) -> None:
    path = write("a.tsv", 'text\tlabel\n"Good" film\ta\n"open\tb\nclose"\tb\n"whole"\ta\n')
    assert read_examples(str(path)).texts == ['"Good" film', '"open', 'close"', "whole"]


def test_huge_fields_and_the_csv_limit_is_left_as_it_was(write: Write) -> None:
    before = csv.field_size_limit()
    assert len(read_examples(str(write("a.csv", f"text,label\n{'x' * 300_000},a\n"))).texts[0]) == 300_000
    assert csv.field_size_limit() == before


def test_half_a_character_is_mended_and_said(write: Write) -> None:
    examples = read_examples(str(write("a.jsonl", '{"text": "cut \\ud83d", "label": "a"}')))
    assert examples.texts == ["cut \ufffd"]
    assert "half a character" in examples.notes[-1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"", "file is empty"),
        ("a.jsonl", b"\n \n", "file is empty"),
        ("a.json", b"", "file is empty"),
        ("a.csv", b"text,label\n", "header but no rows"),
        ("a.json", b"[]", "no rows"),
        (
            "a.csv",
            b"text,label\nx,a\ncaf\xe9,b\n",
            "not UTF-8 at byte 18 (line 3); convert it, for example with `iconv -f lat",
        ),
        ("a.csv", "text,label\nx,a\n".encode("utf-16"), "iconv -f utf-16"),
        ("a.csv", b"text,label\nx\0y,a\n", "line 2: holds a NUL byte"),
        ("a.csv", b"text,label\nx,a\ny,b,c\n", "line 3: 3 fields where the header has 2"),
        ("a.csv", b"text,label\nx\n", "line 2: 1 field where"),
        ("a.csv", b'text,label\nx,a\n"open,b\n', "line 3: broken quoting"),
        ("a.tsv", b"text\tlabel\nx\ta\tb\n", "line 2: 3 fields"),
        ("a.csv", b"text,text\nx,a\n", "two columns are called 'text'"),
        ("a.jsonl", b'{"text": "x", "label": "a"}\n{"text" "y"}\n', "line 2: not JSON (Expecting ':' delimiter"),
        ("a.jsonl", b'{"text": "x", "label": "a"}\n[1]\n', "line 2: a list, not an object"),
        ("a.jsonl", b"[" * 100_000, "line 1: not JSON"),
        ("a.jsonl", b"1" * 5000, "line 1: not JSON"),
        ("a.json", b'[{"text": "x"},\n oops]', "line 2: not JSON"),
        ("a.json", b'{"text": "x"}\n{"text": "y"}', "name it .jsonl"),
        ("a.json", b'{"text": "x"}', "not a list of rows"),
        ("a.json", b'[{"text": "x"}, "y"]', "row 2: a string, not an object"),
        ("a.jsonl", b'{"text": "x", "label": ["a"]}', "line 1: the label in column 'label' is a list"),
        ("a.jsonl", b'{"text": {"en": "x"}, "label": "a"}', "line 1: the text in column 'text' is an object"),
        ("a.csv", b"text,label\nx,\ny,a\nz, \n", "no label in column 'label' in 2 of 3 rows (lines 2, 4); fill"),
        ("a.csv", b"text,label\n" + b",a\n" * 7, "no text in column 'text' in 7 of 7 rows (lines 2, 3, 4, 5, 6, ...)"),
        ("a.jsonl", b'{"text": "x", "label": "a"}\n{"text": "y"}', "1 of 2 rows (line 2)"),
        ("a.pkl", b"x", "cannot read .pkl; pickled files can run code"),
        ("a.docx", b"x", "cannot read .docx; save it as one of .csv, .tsv"),
        ("a", b"x", "cannot read a file without a suffix"),
    ],
)
def test_what_is_wrong_is_said(write: Write, name: str, content: bytes, says: str) -> None:
    assert says in fails(write(name, content))


@pytest.mark.parametrize(
    "source",
    ["missing.csv", "./missing", "~/missing-data", "/missing/data", "~nobody-here/x", "x" * 5000, "a b", "x/y/z"],
)
def test_missing_files(source: str) -> None:
    assert "no such file" in fails(source)


@pytest.mark.parametrize("source", ["", "  ", "a\0b"])
def test_no_source_at_all(source: str) -> None:
    assert "no data given" in fails(source)


def test_what_is_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not a regular file" in fails(tmp_path / "pipe.csv")


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_permission_denied(write: Write, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "a.parquet":
        pytest.importorskip("pyarrow")
    path = write(name, "text,label\nx,a\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, whom no mode stops
    assert "permission denied; allow reading" in fails(path)
