"""Rows in one flat array: against lists of lists, for rows of classes and for both forms of answers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.data.dataset import Encoded, evenly_spaced_rows, flat, rows_like, select_rows, shortest_row
from proxtune.tasks.classification.objective import LABELS

Rows = list[list[int]]
rows_of_tokens = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), min_size=1, max_size=12)


def encoded(rows: Rows, labels: bool = True) -> Encoded:
    ids, starts = flat([np.array(row, dtype=np.int32) for row in rows])
    return Encoded(
        ids=ids, starts=starts, labels=np.arange(len(rows) if labels else 0) % 3, truncated=1, objective=LABELS
    )  # fmt: skip


def with_answers(rows: Rows) -> Encoded:
    """As a decoder has them: the last token of each row is its answer."""
    return replace(encoded(rows, labels=False), begins=np.array([len(row) - 1 for row in rows]))


def with_answers_apart(rows: Rows, answers: Rows) -> Encoded:
    """As an encoder-decoder has them."""
    return replace(
        encoded(rows, labels=False), begins=np.zeros(len(rows), dtype=np.int64), answers=encoded(answers, labels=False)
    )


def lists(data: Encoded) -> Rows:
    return [data.ids[data.starts[i] : data.starts[i + 1]].tolist() for i in range(len(data))]


@given(rows_of_tokens)
def test_rows_end_to_end_are_the_rows(rows: Rows) -> None:
    data = encoded(rows)
    assert lists(data) == rows
    assert data.ids.dtype == np.int32
    assert data.lengths.tolist() == [len(row) for row in rows]


def test_no_rows_at_all() -> None:
    ids, starts = flat([])
    assert (ids.dtype, ids.tolist(), starts.tolist()) == (np.int32, [], [0])


@given(rows_of_tokens, st.data())
def test_some_rows_in_another_order(rows: Rows, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    some = select_rows(encoded(rows), np.array(chosen, dtype=np.int64))
    assert lists(some) == [rows[i] for i in chosen]
    assert some.labels.tolist() == [i % 3 for i in chosen]
    assert some.truncated == 0
    answered = select_rows(with_answers_apart(rows, rows[::-1]), np.array(chosen, dtype=np.int64))
    assert answered.answers is not None
    assert lists(answered.answers) == [rows[::-1][i] for i in chosen]
    assert len(answered.labels) == 0


@given(rows_of_tokens, st.data())
def test_the_tokens_of_some_rows(rows: Rows, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8))
    assert encoded(rows).tokens(np.array(chosen)).tolist() == sorted({token for i in chosen for token in rows[i]})


def test_answers_have_lengths_in_either_form() -> None:
    rows, answers = [[1, 2, 3], [4]], [[5], [6, 7]]
    assert with_answers(rows).answer_lengths.tolist() == [1, 1]
    assert with_answers(rows).lengths.tolist() == [3, 1]
    apart = with_answers_apart(rows, answers)
    assert apart.answer_lengths.tolist() == [1, 2]
    assert apart.lengths.tolist() == [3, 2], "the longer side"
    with pytest.raises(AssertionError, match="rows have answers"):
        _ = encoded(rows).answer_lengths


@pytest.mark.parametrize(
    "data", [encoded([[1, 2], [3]]), with_answers([[1, 2], [3]]), with_answers_apart([[1, 2], [3]], [[4, 5, 6], [7]])]
)
def test_rows_in_the_form_of_others(data: Encoded) -> None:
    made = rows_like(data, rows=3, length=8)
    assert len(made) == 3
    assert made.lengths.tolist() == [8, 8, 8]
    assert made.objective is data.objective
    assert (made.begins is None) == (data.begins is None)
    if data.answers is not None:
        assert made.answer_lengths.tolist() == [3, 3, 3], "as long as the longest there is"
    elif data.begins is not None:
        assert made.answer_lengths.tolist() == [1, 1, 1]


def test_types_of_tokens_go_with_their_rows():
    data = replace(encoded([[1, 2], [3], [4, 5, 6]]), types=np.array([0, 1, 0, 0, 1, 1], dtype=np.int32))
    some = select_rows(data, np.array([2, 0]))
    assert some.types is not None
    assert some.types.tolist() == [0, 1, 1, 0, 1]
    made = rows_like(data, rows=2, length=4)
    assert made.types is not None
    assert len(made.types) == len(made.ids)


@pytest.mark.parametrize("length", [2, 4, 9])
def test_a_row_that_is_made_begins_and_ends_as_real_ones_do(length):
    data = encoded([[5, 6], [5, 7, 8, 9, 1]])
    made = rows_like(data, rows=2, length=length)
    row = made.ids[:length].tolist()
    assert (row[0], row[-1]) == (5, 1), "a model may look for what ends a text"
    assert row.count(1) == 1
    assert made.ids[length:].tolist() == row


@given(rows_of_tokens)
def test_the_shortest_row_comes_alone(rows: Rows) -> None:
    found = shortest_row(encoded(rows))
    assert lists(found) == [min(rows, key=len)]


def test_rows_are_spread_over_all_of_them() -> None:
    assert evenly_spaced_rows(100, 5).tolist() == [0, 25, 50, 74, 99]
    assert evenly_spaced_rows(3, 64).tolist() == [0, 1, 2]
