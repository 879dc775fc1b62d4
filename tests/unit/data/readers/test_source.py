"""Any source → a table: the reader that its suffix names, shards one after another, or a word on why not."""

import gzip
import os
from pathlib import Path

import pytest

from proxtune.data.readers import source
from proxtune.data.readers.source import read_source, read_source_split
from proxtune.data.table import Table
from support.files import Write, refusal

CSV, JSON = "text,label\nx,a\n", '{"text": "x", "label": "a"}'
COLUMNS = {"text": ["x"], "label": ["a"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("UPPER.CSV", CSV),
        ("a.tsv", "text\tlabel\nx\ta\n"),
        ("a.jsonl", JSON),
        ("a.ndjson", JSON),
        ("a.json", f"[{JSON}]"),
    ],
)
def test_the_suffix_says_how_a_file_is_read(write: Write, name: str, content: str) -> None:
    assert read_source(str(write(name, content))).columns == COLUMNS


def test_parquet_with_and_without_its_objects(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"translation": [{"de": "Katze", "en": "cat"}]}), tmp_path / "train.parquet")
    assert read_source(str(tmp_path)).columns == {"translation": [[]]}
    assert read_source(str(tmp_path), objects=True).columns == {"translation": [{"de": "Katze", "en": "cat"}]}


def test_a_path_may_begin_at_home(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(write("a.csv", CSV).parent))
    assert read_source("~/a.csv").columns == COLUMNS


def test_shards_are_read_one_after_another(write: Write, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for shard, word in enumerate(["x", "y"]):
        columns = {"text": [word], "label": [shard]}
        names = ["text", "label"] if shard == 0 else ["label", "text"]  # an order of columns is no difference
        parquet.write_table(pa.table({name: columns[name] for name in names}), tmp_path / f"train-{shard}-of-2.parquet")
    table = read_source(str(tmp_path))
    assert (table.columns, table.lines) == ({"text": ["x", "y"], "label": [0, 1]}, [1, 2])
    assert table.notes == [f"read {tmp_path / 'train-0-of-2.parquet'} and 1 more"]
    assert read_source(str(tmp_path), max_rows=5).columns["text"] == ["x"], "a look takes the first shard alone"
    parquet.write_table(pa.table({"sentence": ["z"]}), tmp_path / "train-1-of-2.parquet")
    assert "its columns differ from those of" in refusal(read_source, str(tmp_path))


def test_a_folder_has_splits_and_a_file_has_none(write: Write, tmp_path: Path) -> None:
    file = write("train.csv", CSV)
    write("dev.csv", "text,label\nv,a\n")
    assert read_source(str(tmp_path)).notes == [f"read {file}"]
    validation = read_source_split(str(tmp_path), "validation")
    assert validation is not None
    assert validation.columns["text"] == ["v"]
    assert read_source_split(str(tmp_path), "test") is None
    assert read_source_split(str(file), "validation") is None


def test_a_name_that_is_no_path_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    table = Table(columns={"text": ["x"]}, lines=[1])
    monkeypatch.setattr(source, "read_hub", lambda name, max_rows: asked.append((name, max_rows)) or table)
    monkeypatch.setattr(source, "read_hub_split", lambda name, names: asked.append((name, names)))
    assert read_source("someone/reviews", max_rows=3) is table
    read_source_split("someone/reviews", "test")
    assert asked == [("someone/reviews", 3), ("someone/reviews", ("test",))]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "a.pkl",
            "cannot read .pkl; pickled files can run code, so they are never loaded; save it as one of .csv, .tsv",
        ),
        ("a.PT", "cannot read .pt; pickled files can run code"),
        ("a.docx", "cannot read .docx; save it as one of .csv, .tsv"),
        ("a", "cannot read a file without a suffix"),
    ],
)
def test_other_kinds_of_files_are_refused(write: Write, name: str, says: str) -> None:
    assert says in refusal(read_source, str(write(name, "x")))


@pytest.mark.parametrize(
    "name",
    ["missing.csv", "./missing", "~/missing-data", "/missing/data", "~nobody-here/x", "x" * 5000, "a b", "x/y/z"],
)
def test_missing_files(name: str) -> None:
    assert "no such file" in refusal(read_source, name)


@pytest.mark.parametrize("name", ["", "  ", "a\0b"])
def test_no_source_at_all(name: str) -> None:
    assert "no data given" in refusal(read_source, name)


def test_what_is_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not a regular file" in refusal(read_source, str(tmp_path / "pipe.csv"))


def test_a_file_of_another_kind_is_named_whatever_it_is_called(write: Write) -> None:
    packed = gzip.compress(CSV.encode())
    for name in ("a.csv", "a.json", "a.parquet", "a.csv.gz"):
        assert "it is compressed with gzip; unpack it" in refusal(read_source, str(write(name, packed)))
    folder = write("folder/train.csv", packed).parent
    assert "train.csv: it is compressed with gzip" in refusal(read_source, str(folder))
    write("folder/dev.csv", packed)
    assert "dev.csv: it is compressed with gzip" in refusal(read_source_split, str(folder), "validation")
