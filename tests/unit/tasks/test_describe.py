"""What a result says of its rows."""

from types import SimpleNamespace

from proxtune.data.examples import Examples, Split
from proxtune.tasks.base import TaskData
from proxtune.tasks.describe import row_facts


class Rows(list[int]):
    """So many rows, of which some were cut."""

    def __init__(self, count: int, truncated: int) -> None:
        super().__init__(range(count))
        self.truncated = truncated


def data(truncated: int = 0) -> TaskData:
    examples = Examples(["x"], ["a"], "a.csv", [2], "text", "label", notes=["read a.csv"])
    return TaskData(
        split=Split(examples, examples, "validation: 2 of 12 rows"), tokenizer=None,
        config=SimpleNamespace(pad_token_id=0, _attn_implementation="eager"),
        train=Rows(10, truncated), validation=Rows(2, truncated), max_length=64, labels=("a", "b"),
    )  # fmt: skip


def test_facts_are_plain_and_notes_are_in_the_order_of_reading() -> None:
    assert row_facts(data(), ("a note of the task",)) == {
        "source": "a.csv",
        "train_rows": 10,
        "validation_rows": 2,
        "labels": ["a", "b"],
        "notes": ["read a.csv", "validation: 2 of 12 rows", "a note of the task"],
        "truncated_rows": 0,
        "max_length": 64,
        "attention": "eager",
    }


def test_rows_that_were_cut_are_counted_and_noted() -> None:
    facts = row_facts(data(truncated=3))
    assert facts["truncated_rows"] == 6
    assert facts["notes"][-1] == "6 rows were longer than 64 tokens and were cut there"
