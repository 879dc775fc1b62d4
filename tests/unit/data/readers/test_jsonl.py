"""JSON and JSON lines: read back as written, with the line or row of each, and what is wrong with the others."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.data.readers.jsonl import read_json, read_jsonl
from support.files import Write, refusal

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda own: st.lists(own, max_size=2),
    max_leaves=3,
)
objects = st.lists(
    st.dictionaries(st.sampled_from(["text", "label", "ünd", ""]), values, min_size=1), min_size=1, max_size=6
)


@settings(max_examples=60)
@given(objects, st.booleans())
def test_objects_read_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], ascii_only: bool
) -> None:
    folder: Path = tmp_path_factory.mktemp("json")
    lined, listed, wrapped = folder / "r.jsonl", folder / "r.json", folder / "w.json"
    lined.write_text("".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows), "utf-8", "surrogatepass")
    listed.write_text(json.dumps(rows, ensure_ascii=ascii_only), "utf-8", "surrogatepass")
    wrapped.write_text(json.dumps({"data": rows}), encoding="utf-8")
    names = {name for row in rows for name in row}
    for table in (read_jsonl(lined), read_json(listed), read_json(wrapped)):
        assert table.columns == {name: [row.get(name) for row in rows] for name in names}
        assert table.lines == list(range(1, len(rows) + 1))


def test_lines_are_counted_with_the_blank_ones(write: Write) -> None:
    table = read_jsonl(write("a.jsonl", '\n{"text": "x", "label": 1}\n\n{"text": "y", "label": 2}'))
    assert (table.lines, table.unit) == ([2, 4], "line")
    assert read_json(write("a.json", '[{"text": "x"}]')).unit == "row"


def test_a_key_that_comes_late_is_none_before(write: Write) -> None:
    assert read_jsonl(write("a.jsonl", '{"a": 1}\n{"b": 2}\n')).columns == {"a": [1, None], "b": [None, 2]}


def test_the_first_rows_alone(write: Write) -> None:
    path = write("a.jsonl", '{"a": 1}\n{"a": 2}\nnot read\n')
    assert read_jsonl(path, 2).columns == {"a": [1, 2]}
    assert read_json(write("a.json", '[{"a": 1}, {"a": 2}, 3]'), 2).columns == {"a": [1, 2]}


def test_a_byte_order_mark_is_skipped(write: Write) -> None:
    assert read_jsonl(write("a.jsonl", b'\xef\xbb\xbf{"text": "x"}\r\n')).columns == {"text": ["x"]}


@pytest.mark.parametrize(
    ("read", "content", "says"),
    [
        (read_jsonl, "\n \n", "file is empty"),
        (read_jsonl, '{"text": "x"}\n{"text" "y"}\n', "line 2: not JSON (Expecting ':' delimiter at character 9)"),
        (read_jsonl, '{"text": "x"}\n[1]\n', "line 2: a list, not an object; write each row like"),
        (read_jsonl, "null", "line 1: null, not an object"),
        (read_jsonl, "3", "line 1: a bare value, not an object"),
        (read_jsonl, "[" * 100_000, "line 1: not JSON that can be read (nested too deeply)"),
        (read_jsonl, "1" * 5000, "line 1: not JSON that can be read (a number is too long)"),
        (read_json, "", "file is empty"),
        (read_json, "[]", "the list has no rows"),
        (read_json, '[{"text": "x"},\n oops]', "line 2: not JSON (Expecting value)"),
        (read_json, '{"text": "x"}\n{"text": "y"}', "name it .jsonl"),
        (read_json, '{"text": "x"}', "not a list of rows"),
        (read_json, '[{"text": "x"}, "y"]', "row 2: a string, not an object"),
        (read_json, "[" * 100_000, "nested too deeply"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else value.__name__,
)  # fmt: skip
def test_what_is_wrong_is_said(write: Write, read, content: str, says: str) -> None:
    assert says in refusal(read, write("a.json", content))
