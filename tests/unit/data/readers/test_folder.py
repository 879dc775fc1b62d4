"""Tables and folders of other libraries → examples: parquet, datasets saved to disk, folders of files, the hub."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest

from proxtune.data.readers.folder import find_split_file
from proxtune.data.readers.source import read_source
from proxtune.tasks.classification.reader import read_examples, read_split
from support.written import Write, fails


def test_parquet_with_class_names_and_nested_columns(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    features = {
        "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"},
    }
    table = pa.table({"text": ["x", "y"], "label": [1, 0], "vector": [[1.0], [2.0]], "image": [b"1", b"2"]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path)
    examples = read_examples(str(path))
    assert (examples.texts, examples.labels, examples.lines) == (["x", "y"], ["good", "bad"], [1, 2])
    assert "row 1: the text in column 'vector' is a list" in fails(path, text_column="vector")
    assert "is bytes" in fails(path, text_column="image")
    parquet.write_table(table.slice(0, 0), path)
    assert "no rows" in fails(path)
    path.write_bytes(b"")
    assert "file is empty" in fails(path)


def test_parquet_without_pyarrow(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'proxtune[parquet]'" in fails(write("a.parquet", "x"))


def test_folders_as_hugging_face_lays_them_out(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    data = tmp_path / "data"
    data.mkdir()
    for shard, word in enumerate(["x", "y"]):
        parquet.write_table(pa.table({"text": [word], "label": [shard]}), data / f"train-0000{shard}-of-00002.parquet")
    parquet.write_table(pa.table({"text": ["v"], "label": [0]}), data / "valid-00000-of-00001.parquet")
    examples = read_examples(str(tmp_path))
    assert (examples.texts, examples.lines) == (["x", "y"], [1, 2])
    assert "and 1 more" in examples.notes[0]
    validation = read_split(str(tmp_path), "validation")
    assert validation is not None
    assert validation.texts == ["v"]
    assert read_split(str(tmp_path), "test") is None
    assert [path.name for path in find_split_file(tmp_path, ["nothing", "valid"])] == ["valid-00000-of-00001.parquet"]
    parquet.write_table(pa.table({"sentence": ["z"]}), data / "train-00001-of-00002.parquet")
    assert "columns differ" in fails(tmp_path)


def test_a_dataset_saved_to_disk(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    for split, layout in (("train", pa.ipc.new_stream), ("test", pa.ipc.new_file)):
        (tmp_path / split).mkdir()
        table = pa.table({"text": [split], "label": ["a"]})
        with layout(str(tmp_path / split / "data-00000-of-00001.arrow"), table.schema) as writer:
            writer.write_table(table)
        state = {"_data_files": [{"filename": "../../data-00000-of-00001.arrow"}]}  # must not lead out
        (tmp_path / split / "state.json").write_text(json.dumps(state))
    assert read_examples(str(tmp_path)).texts == ["train"]
    assert read_examples(str(tmp_path / "train")).texts == ["train"]
    test = read_split(str(tmp_path), "test")
    assert test is not None
    assert test.texts == ["test"]
    (tmp_path / "train" / "state.json").write_text("{}")
    assert "save_to_disk" in fails(tmp_path)


def test_folders_of_plain_files(write: Write, tmp_path: Path) -> None:
    assert "nothing readable" in fails(tmp_path)
    write("reviews.csv", "text,label\nonly,a\n")
    assert read_examples(str(tmp_path)).texts == ["only"]
    write("more.csv", "text,label\nmore,a\n")
    assert "2 data files and none is called train" in fails(tmp_path)
    write("train.jsonl", '{"text": "learn", "label": "a"}')
    write("dev.csv", "text,label\njudge,a\n")
    assert read_examples(str(tmp_path)).texts == ["learn"]
    validation = read_split(str(tmp_path), "validation")
    assert validation is not None
    assert validation.texts == ["judge"]
    assert read_split(str(tmp_path / "train.jsonl"), "validation") is None


def fake_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    class ClassLabel:
        names = ("bad", "good")

    class Dataset(dict[str, list[object]]):
        column_names = ("text", "label")
        features: ClassVar = {"text": SimpleNamespace(), "label": ClassLabel()}

    def load_dataset(name: str, split: str) -> Dataset:
        if name == "someone/gone":
            raise ConnectionError("no network\nsecond line")
        return Dataset(text=[f"{split} 1", f"{split} 2"] * (name != "nobody"), label=[0, 1] * (name != "nobody"))

    module = ModuleType("datasets")
    monkeypatch.setattr(module, "load_dataset", load_dataset, raising=False)
    monkeypatch.setattr(module, "get_dataset_split_names", lambda name: ["train", "dev"], raising=False)
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_a_hub_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_datasets(monkeypatch)
    examples = read_examples("someone/reviews")
    assert (examples.texts, examples.labels) == (["train 1", "train 2"], ["bad", "good"])
    validation = read_split("someone/reviews", "validation")
    assert validation is not None
    assert validation.texts[0] == "dev 1"
    assert read_split("someone/reviews", "test") is None
    assert (
        read_source("someone/reviews", max_rows=200).columns["text"][0] == "train[:200] 1"
    )  # what `datasets` slices by
    assert "not loaded (no network)" in fails("someone/gone")
    assert "has no rows" in fails("nobody")


def test_a_hub_dataset_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'proxtune[hub]'" in fails("someone/reviews")
    assert read_split("someone/reviews", "validation") is None
