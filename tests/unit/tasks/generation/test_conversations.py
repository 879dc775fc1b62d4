"""Conversations: who may speak when, and a row for each answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.data.bad_rows import BadRow
from proxtune.data.examples import Message
from proxtune.tasks.generation.conversations import read_turns, split_turns

U, A, S = Message("user", "u"), Message("assistant", "a"), Message("system", "s")


def cell(*turns: Message) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def why(value: object) -> str:
    with pytest.raises(BadRow) as caught:
        read_turns(value)
    return str(caught.value)


def test_a_row_for_each_answer() -> None:
    turns = read_turns(cell(S, U, A, U, Message("assistant", "b")))
    assert split_turns(turns) == [((S, U), "a"), ((S, U, A, U), "b")]


def test_the_words_of_other_writers() -> None:
    shared = [{"from": "human", "value": "u"}, {"from": "GPT", "value": "a"}]
    assert read_turns(shared) == [U, A]
    assert read_turns([{"role": "developer", "content": "s"}, *shared]) == [S, U, A]
    assert read_turns(json.dumps(shared)) == [U, A]  # as a CSV file has it


def test_a_system_beside_the_turns() -> None:
    assert read_turns(cell(U, A), "s") == [S, U, A]
    assert read_turns(cell(S, U, A), "other") == [S, U, A]


def test_a_conversation_that_waits_for_an_answer() -> None:
    turns = [U, A, U]
    assert split_turns(turns, need_answers=False) == [((U, A, U), None)]
    with pytest.raises(BadRow, match="ends with user, not with assistant"):
        split_turns(turns)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no turns"),
        ([], "no turns"),
        (7, "a number, not a list of turns"),
        ("plain words", "a string, not a list of turns"),
        ("[1", "the turns are not JSON"),
        (cell(U, A) * 501, "1,002 turns, more than 1,000"),
        (["u"], "turn 1 is a string, not an object"),
        ([{"content": "u"}], "turn 1 has no role"),
        ([{"role": 1, "content": "u"}], "turn 1 has no role"),
        ([*cell(U), {"role": "tool", "content": "x"}], "turn 2 has the unknown role 'tool'"),
        ([{"role": "user", "content": " "}], "turn 1 (user) is empty"),
        ([{"role": "user"}], "turn 1 (user) is empty"),
        ([{"role": "user", "content": [{"type": "text"}]}], "turn 1 (user) is a list, not a text"),
        (cell(A, U), "turn 1 is assistant at the beginning, where user is due"),
        (cell(S, A), "turn 2 is assistant after system, where user is due"),
        (cell(U, U), "turn 2 is user after user, where assistant is due"),
        (cell(U, A, A), "turn 3 is assistant after assistant, where user is due"),
        (cell(U, S, A), "turn 2 is system after user, where assistant is due"),
        (cell(S, S), "turn 2 is system after system, where user is due"),
        (cell(S), "no turn but the system's"),
    ],
)
def test_why_a_conversation_will_not_do(value: object, reason: str) -> None:
    assert why(value) == reason


roles = st.sampled_from(["system", "user", "assistant"])


def order_is_right(said: list[str]) -> bool:
    # The obvious twin: [system] then pairs of user and assistant, a user's turn left over at the end.
    rest = said[1:] if said[:1] == ["system"] else said
    return bool(rest) and rest == (["user", "assistant"] * len(rest))[: len(rest)]


@settings(max_examples=300, deadline=None)
@given(st.lists(roles, max_size=7), st.booleans())
def test_every_order_of_roles(said: list[str], need: bool) -> None:
    value = [{"role": role, "content": f"{place}"} for place, role in enumerate(said)]
    try:
        rows = split_turns(read_turns(value), need)
    except BadRow:
        assert not order_is_right(said) or (need and said[-1] == "user")
        return
    assert order_is_right(said)
    if said[-1] == "user":
        assert [(len(asked), answer) for asked, answer in rows] == [(len(said), None)]
    else:
        places = [place for place, role in enumerate(said) if role == "assistant"]
        assert [(len(asked), answer) for asked, answer in rows] == [(place, str(place)) for place in places]
    assert all(asked[-1].role == "user" for asked, _ in rows)
