"""Parquet and Arrow files: classes by their names, nested columns told or kept, and damage in one line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.data.readers.arrow import named_classes, read_arrow
from support.files import Write, refusal

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def with_features(table: Any, features: object) -> Any:
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def test_classes_are_named_and_what_is_nested_or_binary_is_not_read(tmp_path: Path) -> None:
    features = {
        "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"},
    }
    columns = {
        "text": ["x", "y", "z"],
        "label": [1, 0, -1],
        "vector": [[1.0], [2.0], [3.0]],
        "image": [b"1", b"2", b"3"],
    }
    parquet.write_table(with_features(pa.table(columns), features), tmp_path / "a.parquet")
    table = read_arrow(tmp_path / "a.parquet")
    assert table.columns == {
        "text": ["x", "y", "z"],
        "label": ["good", "bad", None],
        "vector": [[]] * 3,
        "image": [b""] * 3,
    }
    assert (table.lines, table.unit, table.has_header) == ([1, 2, 3], "row", False)


@pytest.mark.parametrize(
    "features",
    [None, [], {"label": 3}, {"label": {"_type": "ClassLabel"}}, {"label": {"_type": "ClassLabel", "names": "a"}}],
)
def test_features_that_say_nothing_leave_the_numbers(tmp_path: Path, features: object) -> None:
    parquet.write_table(with_features(pa.table({"label": [1, 0]}), features), tmp_path / "a.parquet")
    assert read_arrow(tmp_path / "a.parquet").columns == {"label": [1, 0]}


@given(st.lists(st.none() | st.integers(-2, 5) | st.text(max_size=2), max_size=9))
def test_a_number_is_its_name_or_none(cells: list[object]) -> None:
    names = ["a", "b", "c"]
    named = named_classes(cells, names)
    assert named == [{0: "a", 1: "b", 2: "c"}.get(cell) if isinstance(cell, int) else None for cell in cells]


def test_columns_of_objects_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": "u"}]]
    parquet.write_table(pa.table({"messages": turns, "vector": [[1.0]]}), tmp_path / "a.parquet")
    assert read_arrow(tmp_path / "a.parquet").columns == {"messages": [[]], "vector": [[]]}
    assert read_arrow(tmp_path / "a.parquet", objects=True).columns == {"messages": turns, "vector": [[]]}


@pytest.mark.parametrize("layout", ["parquet", "stream", "file"])
def test_the_first_rows_of_each_layout(tmp_path: Path, layout: str) -> None:
    table = pa.table({"text": ["x", "y", "z"]})
    path = tmp_path / ("a.parquet" if layout == "parquet" else "a.arrow")
    if layout == "parquet":
        parquet.write_table(table, path)
    else:
        with getattr(pa.ipc, f"new_{layout}")(str(path), table.schema) as writer:
            writer.write_table(table)
    assert read_arrow(path).columns == {"text": ["x", "y", "z"]}
    assert read_arrow(path, 2).columns == {"text": ["x", "y"]}


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@settings(max_examples=40)
@given(content=st.binary(max_size=80))
def test_any_bytes_are_damage_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("junk") / f"junk.{suffix}"
    path.write_bytes(b"PAR1" + content + b"PAR1")
    assert "damaged" in refusal(read_arrow, path)


def test_nothing_in_it(tmp_path: Path, write: Write) -> None:
    parquet.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert "has columns but no rows" in refusal(read_arrow, tmp_path / "a.parquet")
    assert "the file is empty" in refusal(read_arrow, write("b.parquet", ""))


def test_without_pyarrow(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'proxtune[parquet]'" in refusal(read_arrow, write("a.parquet", "x"))


def test_a_file_that_may_not_be_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.parquet", "x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "permission denied; allow reading" in refusal(read_arrow, path)


@pytest.mark.parametrize("column", ["text", "messages"])
def test_places_outside_a_damaged_file_are_refused_and_do_not_end_the_process(tmp_path: Path, column: str) -> None:
    """In a process of its own: reading there is a bus error, which no test survives."""
    cells: list[Any] = ["a", "b", "c"] if column == "text" else [[{"role": "user", "content": word}] for word in "abc"]
    table = pa.table({column: cells, "label": ["x", "y", "x"]})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    whole = (tmp_path / "a.arrow").read_bytes()
    places = np.array([0, 1, 2, 3], np.int32).tobytes()
    assert places in whole
    (tmp_path / "a.arrow").write_bytes(whole.replace(places, np.array([0, 1, 2, 10**9], np.int32).tobytes()))
    code = f"""
from pathlib import Path
from proxtune.data.readers.arrow import read_arrow
from proxtune.errors import UserError
try:
    read_arrow(Path({str(tmp_path / "a.arrow")!r}), objects=True)
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "damaged" in done.stdout
