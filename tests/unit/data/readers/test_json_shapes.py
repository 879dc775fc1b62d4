"""JSON that holds rows in another way: said what it is, and how to make rows of it."""

import json

import pandas as pd
import pytest

from proxtune.data.readers.json_shapes import rows_under, why_no_rows
from proxtune.data.readers.jsonl import read_json, read_jsonl
from support.files import Write, refusal

ROWS = [{"text": f"film {n}", "label": "ab"[n % 2]} for n in range(4)]
COLUMNS = {"text": [row["text"] for row in ROWS], "label": [row["label"] for row in ROWS]}


@pytest.mark.parametrize("read", [read_json, read_jsonl])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (COLUMNS, "it holds columns ('text', 'label'), not rows; write rows, for example with `pandas.DataFrame"),
        (json.loads(pd.DataFrame(ROWS).to_json()), "it holds columns ('text', 'label'), as pandas writes them"),
        (json.loads(pd.DataFrame(ROWS).to_json(orient="index")), "it holds rows by number, as pandas writes them"),
        (json.loads(pd.DataFrame(ROWS).to_json(orient="split")), 'pandas wrote it by orient="split"'),
        ({"train": ROWS, "test": ROWS[:1]}, "it holds the splits 'train', 'test'; write each into a file of its own"),
    ],
)
def test_it_is_said_what_a_file_holds(write: Write, read, value: object, says: str) -> None:
    assert says in refusal(read, write("a.json", json.dumps(value)))


def test_the_advice_for_pandas_works(write: Write) -> None:
    for orient in ("columns", "index", "split"):
        path = write("a.json", pd.DataFrame(ROWS).to_json(orient=orient))
        frame = pd.read_json(path, orient=orient)
        frame.to_json(path.with_name("rows.jsonl"), orient="records", lines=True)
        assert read_jsonl(path.with_name("rows.jsonl")).columns == COLUMNS


@pytest.mark.parametrize(
    "value", [{"data": ROWS}, ROWS[0], {}, {"text": ["a"], "label": ["b"]}, {"a": {}}, {"translation": {"en": "a"}}]
)
def test_what_is_nothing_of_the_kind(value: dict[str, object]) -> None:
    assert why_no_rows(value) is None


def test_rows_under_another_name() -> None:
    assert rows_under({"version": 2, "examples": ROWS}) == (
        "one object, with rows under 'examples'; write such a list by itself"
    )
    assert str(rows_under({f"list {n}": ROWS for n in range(6)})).startswith("one object, with rows under 'list 0', ")
    assert rows_under({"a": [], "b": [1]}) is None
