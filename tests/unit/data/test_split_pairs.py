"""Rows of text generation to learn from and to judge by: a partition, conversations whole, the same for the same seed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.data.examples import Message, Pairs
from proxtune.data.split import select_pairs, split_pairs
from proxtune.errors import UserError


def pairs_of(lines: list[int], source: str = "a.jsonl") -> Pairs:
    places = range(len(lines))
    asked = [(Message("user", f"text {n}"),) for n in places]
    return Pairs(asked, [f"answer {n}" for n in places], source, lines, ("messages",), ["said"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=60), st.integers(0, 9))
def test_a_partition_that_keeps_conversations_whole(turns: list[int], seed: int) -> None:
    whole = pairs_of([line for line, count in enumerate(turns, start=1) for _ in range(count)])
    split = split_pairs(whole, None, seed)
    assert split == split_pairs(whole, None, seed)
    assert not set(split.train.lines) & set(split.validation.lines)
    assert sorted(split.train.answers + split.validation.answers) == sorted(whole.answers)
    for part in (split.train, split.validation):
        assert len(part) >= 1
        assert part.lines == sorted(part.lines)
        assert [whole.prompts[int(answer.split()[1])] for answer in part.answers] == part.prompts
    wanted = max(1, len(whole) // 10)
    assert len(split.validation) <= max(wanted, min(turns))
    assert len(split.validation) >= wanted - 5  # the longest conversation is of six rows


def test_one_row_in_ten_and_at_most_five_hundred() -> None:
    split = split_pairs(pairs_of(list(range(300))), None, 3)
    assert (len(split.validation), split.note) == (30, "validation: 30 of 300 rows, drawn with seed 3")
    assert split.validation != split_pairs(pairs_of(list(range(300))), None, 4).validation
    assert len(split_pairs(pairs_of(list(range(6_000)))).validation) == 200
    assert len(split_pairs(pairs_of([1, 2])).validation) == 1


def test_what_cannot_be_split() -> None:
    with pytest.raises(UserError, match="one row leaves none to judge by; add rows, or give a validation file"):
        split_pairs(pairs_of([4, 4, 4]))
    with pytest.raises(UserError, match=r"a\.jsonl: no answers"):
        split_pairs(Pairs(pairs_of([1, 2]).prompts, [], "a.jsonl", [1, 2], ("text",)))
    with pytest.raises(UserError, match=r"v\.jsonl: no answers"):
        split_pairs(pairs_of([1, 2]), Pairs(pairs_of([1]).prompts, [], "v.jsonl", [1], ("text",)))


def test_a_validation_that_was_given() -> None:
    train, held = pairs_of([1]), pairs_of([1, 1, 2], "v.jsonl")
    split = split_pairs(train, held, 0)
    assert (split.train, split.validation) == (train, held)
    assert split.note == "validation: all of v.jsonl, 3 rows"


def test_take_pairs() -> None:
    part = select_pairs(pairs_of([1, 2, 3]), [2, 0])
    assert (part.answers, part.lines, part.notes) == (["answer 2", "answer 0"], [3, 1], ["said"])
    assert select_pairs(Pairs(part.prompts, [], "a", [3, 1], ("text",)), [1]).answers == []
