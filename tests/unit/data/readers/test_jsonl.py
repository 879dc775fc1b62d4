"""JSON and JSON lines: read back as written, with the line or row of each, and what is wrong with the others."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxtune.data.readers.json_shapes import why_no_rows
from proxtune.data.readers.jsonl import read_json, read_jsonl
from support.files import Write, refusal

CONTROLS = "".join(map(chr, range(0x7F, 0xA0)))  # which no text has, and which are put right
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters=CONTROLS)),
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
    assume(len(rows) > 1 or why_no_rows(rows[0]) is None)  # one row of lists is columns
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
        (read_json, '[{"text": "x"}] 1', "more than one JSON value"),
        (read_json, '[{"text": "x"}', "line 1: not JSON (Expecting ']')"),
        (read_json, '{"text": "x"}\n{"text": "y"', "line 2: not JSON"),
        (read_json, '{"data": 1}', "not a list of rows but one object"),
        (read_json, '{"data": []}', "the list has no rows"),
        (read_json, '{"rows": [{"text": "x"}]}', "one object, with rows under 'rows'; write such a list by itself"),
        (read_json, '{"text": "x"}', "not a list of rows"),
        (read_json, '[{"text": "x"}, "y"]', "row 2: a string, not an object"),
        (read_json, "[" * 100_000, "nested too deeply"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else value.__name__,
)  # fmt: skip
def test_what_is_wrong_is_said(write: Write, read, content: str, says: str) -> None:
    assert says in refusal(read, write("a.json", content))


ROWS = [{"text": f"film {n}", "label": "ab"[n % 2]} for n in range(4)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("a.json", LINES, "the file has one JSON object a line"),
        ("a.jsonl", json.dumps(ROWS, indent=2), "the file is one JSON list, not an object a line"),
        ("a.jsonl", json.dumps(ROWS), "the file is one JSON list, not an object a line"),
        ("a.json", "\n\n" + json.dumps({"version": 1, "data": ROWS}, indent=1), None),
        ("a.json", "\n".join(json.dumps(row, indent=2) for row in ROWS), "the file has one JSON object after another"),
        ("a.jsonl", "\n".join(json.dumps(row, indent=2) for row in ROWS), "the file has one JSON object after another"),
        ("a.json", LINES.encode("utf-16"), "read as UTF-16"),
    ],
)
def test_what_is_in_a_file_decides(write: Write, name: str, content: str | bytes, note: str | None) -> None:
    table = (read_json if name == "a.json" else read_jsonl)(write(name, content))
    assert [dict(zip(table.columns, row, strict=True)) for row in zip(*table.columns.values(), strict=True)] == ROWS
    assert table.notes[:1] == ([] if note is None else [note])


@pytest.mark.parametrize("read", [read_json, read_jsonl])
def test_a_long_list_is_read_in_pieces(write: Write, read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxtune.data.text_file._CHUNK", 7)
    rows = [{"text": "é" * n, "number": 1000 + n, "more": [None, True, {"a": 1.5}]} for n in range(40)]
    table = read(write("a.json", json.dumps(rows, ensure_ascii=False, indent=1)))
    assert table.columns["text"] == [row["text"] for row in rows]
    assert table.columns["number"] == [row["number"] for row in rows]
    assert "line 3: not JSON" in refusal(read, write("b.json", '[{"a": 1},\n{"a": 2},\n{"a" 3},\n{"a": 4}]'))


def test_a_conversation_in_one_line_is_a_row(write: Write) -> None:
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    assert read_jsonl(write("a.jsonl", json.dumps({"messages": turns}))).columns == {"messages": [turns]}


def test_lists_beside_the_rows_are_told(write: Write) -> None:
    row = {"text": "a", "label": "b"}
    table = read_json(write("a.json", json.dumps({"data": [row], "more": [row, row], "tags": ["x"], "version": 1})))
    assert len(table.lines) == 1
    assert table.notes == ["rows are read from 'data'; not used: 'more'"]
