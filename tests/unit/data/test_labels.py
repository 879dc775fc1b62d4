"""Labels as people spell them: joined by the rule that is stated, told apart otherwise, and found again in other files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.data.labels import ClassNumbers, join_labels, label_key, number_notes


@pytest.mark.parametrize(
    ("labels", "joined"),
    [
        (["pos", "Pos", "POS", "pos", "neg"], ["pos", "pos", "pos", "pos", "neg"]),
        (["very  good", "very good", "very good"], ["very good"] * 3),
        (["1", "1.0", "2", "1.00"], ["1", "1", "2", "1"]),
        (["1.0", "0.0", "1.0"], ["1.0", "0.0", "1.0"]),
        (["true", "1", "0", "false", "1"], ["1", "1", "0", "0", "1"]),
        (["True", "true", "False"], ["True", "True", "False"]),
        (["true", "1", "2"], ["true", "1", "2"]),
        (["01", "1"], ["01", "1"]),
        (["1.5", "1"], ["1.5", "1"]),
        (["caf\u00e9", "cafe\u0301"], ["caf\u00e9", "caf\u00e9"]),
        (["-1", "-1.0"], ["-1", "-1"]),
        (["nan", "pos"], ["nan", "pos"]),
        (["neg\u200b", "neg\u200b", "neg", "\ufeffneg", "ne\xadg"], ["neg"] * 5),
        (["\u0645\u06cc\u200c\u0634\u0648\u062f"], ["\u0645\u06cc\u200c\u0634\u0648\u062f"]),
    ],
)
def test_one_spelling_for_each_class(labels: list[str], joined: list[str]) -> None:
    found, notes = join_labels(labels)
    assert found == joined
    assert any(note.startswith("labels that differ only in how they are written are one: ") for note in notes) == (
        labels != joined
    )


def test_what_was_joined_is_told_with_its_rows() -> None:
    (note,) = join_labels(["pos"] * 3 + ["Pos"] * 2 + ["neg"])[1]
    assert note == "labels that differ only in how they are written are one: 'Pos' (2) as 'pos'"
    (note,) = join_labels([f"a{' ' * n}b" for n in range(1, 9)])[1]
    assert note.endswith(" and 2 more")


def test_what_may_stand_for_no_label_is_told() -> None:
    (note,) = join_labels(["nan", "nan", "N/A", "pos"])[1]
    assert note == (
        "label 'nan' (2 rows), 'N/A' (1 rows) is kept as a class; if it means that there is none, empty those cells"
    )


@given(st.lists(st.text(max_size=4), max_size=8))
def test_joining_again_changes_nothing(labels: list[str]) -> None:
    joined = join_labels(labels)[0]
    assert join_labels(joined)[0] == joined
    assert len(joined) == len(labels)


@pytest.mark.parametrize(
    ("classes", "label", "number"),
    [
        (["neg", "pos"], "pos", 1),
        (["neg", "pos"], " POS".strip(), 1),
        (["0", "1"], "1.0", 1),
        (["0", "1"], "True", 1),
        (["False", "True"], "0", 0),
        (["0.0", "1.0"], "1", 1),
        (["neg", "pos"], "other", None),
        (["0", "1", "2"], "true", None),
        (["a", "A"], "A", 1),
    ],
)
def test_a_class_is_found_by_any_spelling(classes: list[str], label: str, number: int | None) -> None:
    assert ClassNumbers(classes).find(label) == number


def test_what_labels_have_in_common() -> None:
    assert label_key(" Very  GOOD ") == "very good"
    assert label_key("3.0") == label_key("3") != label_key("3.5")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["3.75", "2.5", "-1.25", "4"], "('3.75', '2.5', '-1.25'): they are learned as 4 classes, not as numbers"),
        (["3,75", "2,5", ".5"], "('3,75', '2,5', '.5'): they are learned as 3 classes"),
        (["1.5e-3", "0.1", "0.2"], "as 3 classes"),
        ([f"{n}.5" for n in range(9)], "('0.5', '1.5', '2.5', '3.5', '4.5', ...): they are learned as 9 classes"),
    ],
)
def test_numbers_with_fractions_are_said_to_be_classes(labels: list[str], told: str) -> None:
    (note,) = number_notes(labels * 2)
    assert told in note


@pytest.mark.parametrize(
    "labels",
    [
        [],
        ["1", "2", "3", "4"],
        ["1.0", "2.0", "3.0", "4."],
        ["0.5", "1.5", "1"],
        ["0.5", "1.5", "2.5", "unknown"],
        ["1.2.3", "1.5.1", "2.0.1"],
    ],
)
def test_other_labels_are_classes_without_a_word(labels: list[str]) -> None:
    assert number_notes(labels) == []
