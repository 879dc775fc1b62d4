"""Rows as they were read: without their labels or answers, and what the user calls one."""

from proxtune.data.examples import Examples, Message, Pairs, row_name

EXAMPLES = Examples(
    texts=["x", "y"],
    labels=["a", "b"],
    source="a.csv",
    lines=[2, 4],
    text_column="text",
    label_column="label",
    notes=["guessed"],
)
PAIRS = Pairs(
    prompts=[(Message("user", "x"),), (Message("system", "Be brief."), Message("user", "y"))], answers=["1", "2"],
    source="a.jsonl", lines=[7, 7], columns=("messages",), notes=["guessed"],
)  # fmt: skip


def test_texts_alone_keep_their_lines() -> None:
    alone = EXAMPLES.without_labels()
    assert (alone.texts, alone.lines, alone.source) == (EXAMPLES.texts, EXAMPLES.lines, "a.csv")
    assert (alone.labels, alone.label_column, alone.notes) == ([], None, ["guessed"])
    assert len(alone) == len(EXAMPLES) == 2


def test_prompts_alone_keep_their_lines() -> None:
    alone = PAIRS.without_answers()
    assert (alone.prompts, alone.lines, alone.columns) == (PAIRS.prompts, [7, 7], ("messages",))
    assert (alone.answers, alone.notes) == ([], ["guessed"])
    assert len(alone) == len(PAIRS) == 2


def test_a_row_is_called_by_its_file_and_line() -> None:
    assert row_name(EXAMPLES, 1) == "a.csv line 4"
    assert row_name(PAIRS, 1) == "a.jsonl line 7"


def test_a_pair_is_shown_as_one_text() -> None:
    pair = Examples(["a", "b"], [], "a.csv", [2, 3], "one", None, second_texts=["c", "d"], second_column="two")
    assert pair.whole_texts == ["a ||| c", "b ||| d"]
    assert pair.text_columns == ("one", "two")
    assert (EXAMPLES.whole_texts, EXAMPLES.text_columns) == (EXAMPLES.texts, (EXAMPLES.text_column,))
    assert PAIRS.text_columns == ()
