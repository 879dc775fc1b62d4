"""What a result says of its rows."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from proxtune.config.recipe import Recipe
from proxtune.data.dataset import Encoded
from proxtune.data.examples import Examples, Split
from proxtune.tasks.base import TaskData
from proxtune.tasks.classification.objective import LABELS
from proxtune.tasks.describe import render_row, row_facts, with_learned_columns


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
        "text_columns": ["text"],
        "label_column": "label",
        "train_rows": 10,
        "validation_rows": 2,
        "labels": ["a", "b"],
        "notes": ["read a.csv", "validation: 2 of 12 rows", "a note of the task"],
        "truncated_rows": 0,
        "max_length": 64,
        "attention": "eager",
    }


def test_what_keeps_rows_apart_is_told_to_who_uses_the_model() -> None:
    assert row_facts(replace(data(), pads=False))["pads"] is False
    assert row_facts(replace(data(), batches=False))["batches"] is False


def test_rows_that_were_cut_are_counted_and_noted() -> None:
    facts = row_facts(data(truncated=3))
    assert facts["truncated_rows"] == 6
    assert facts["notes"][-1] == "6 rows were longer than 64 tokens and were cut there"


class Letters:
    """A tokenizer whose tokens are letters."""

    def decode(self, ids: list[int], **options: bool) -> str:
        assert not options["skip_special_tokens"]
        return "".join(chr(97 + token) for token in ids)


def encoded(ids: list[int], **more: object) -> Encoded:
    return Encoded(
        ids=np.asarray(ids), starts=np.asarray([0, len(ids)]), labels=np.asarray([1]), truncated=0, objective=LABELS, **more
    )  # fmt: skip


def test_a_row_is_shown_apart_from_what_it_learns() -> None:
    own = replace(data(), tokenizer=Letters())
    label = replace(own, train=encoded([0, 1, 2]))
    decoder = replace(own, train=encoded([0, 1, 2], begins=np.asarray([2])))
    apart = replace(own, train=encoded([0, 1], begins=np.asarray([0]), answers=encoded([3, 4])))
    found = [render_row(each, 0) for each in (label, decoder, apart)]
    assert [(row["input"], row["learned"]) for row in found] == [("abc", "b"), ("ab", "c"), ("ab", "de")]
    assert [row["tokens"] for row in found] == [3, 3, 2]
    assert found[0]["name"] == "a.csv line 2"


def test_new_rows_are_read_in_the_columns_that_were_learned() -> None:
    recipe = Recipe(data="a.csv", out="", text_column="asked for")
    assert with_learned_columns(recipe, {}) == recipe  # a run of an earlier version
    learned = with_learned_columns(recipe, row_facts(data()))
    assert (learned.text_column, learned.label_column) == ("text", "label")
    pair = with_learned_columns(recipe, {"text_columns": ["premise", "hypothesis"], "label_column": None})
    assert (pair.text_column, pair.label_column) == ("premise\thypothesis", None)
