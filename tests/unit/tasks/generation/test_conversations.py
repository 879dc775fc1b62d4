"""Conversations: who may speak when, and a row for each answer."""

from __future__ import annotations

import json
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.data.bad_rows import BadRow, Missing
from proxtune.data.examples import Message
from proxtune.tasks.generation.conversations import (
    DOUBLED,
    GREETED,
    OTHER_SYSTEM,
    THOUGHT,
    UNWEIGHTED,
    WEIGHTED,
    Conversation,
    holds_turns,
    read_history,
    read_turns,
    split_turns,
)

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
    assert read_turns(shared) == Conversation((U, A))
    assert read_turns([{"role": "developer", "content": "s"}, *shared]) == Conversation((S, U, A))
    assert read_turns(json.dumps(shared)).turns == (U, A)  # as a CSV file has it


def test_a_system_beside_the_turns() -> None:
    assert read_turns(cell(U, A), "s").turns == (S, U, A)
    assert read_turns(cell(S, U, A), "other") == Conversation((S, U, A), told=(OTHER_SYSTEM,))
    assert read_turns(cell(S, U, A), "s ").told == (), "it is the same"


def test_a_conversation_that_waits_for_an_answer() -> None:
    turns = Conversation((U, A, U))
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
        ([{"content": "u"}], "turn 1 has no `role` or `from` (it has 'content')"),
        ([{"speaker": "a", "said": "u"}], "turn 1 has no `role` or `from` (it has 'speaker', 'said')"),
        ([{}], "turn 1 has no `role` or `from` (it is an empty object)"),
        ([{"role": 1, "content": "u"}], "the role of turn 1 is a number, not a word"),
        ([*cell(U), {"role": "narrator", "content": "x"}], "turn 2 has the unknown role 'narrator'"),
        (
            [*cell(U), {"role": "tool", "content": "x"}],
            "turn 2 is of a tool ('tool'); conversations with tools cannot be learned",
        ),
        (
            [*cell(U), {"from": "function_call", "value": "x"}],
            "turn 2 is of a tool ('function_call'); conversations with tools cannot be learned",
        ),
        (
            [*cell(U), {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look"}}]}],
            "turn 2 calls the tool 'look'; calls of tools cannot be learned",
        ),
        (
            [*cell(U), {"role": "assistant", "function_call": {"name": "look"}}],
            "turn 2 calls the tool 'look'; calls of tools cannot be learned",
        ),
        (
            [*cell(U), {"role": "assistant", "tool_calls": ["look"]}],
            "turn 2 calls the tool 'look'; calls of tools cannot be learned",
        ),
        ([{"role": "user", "content": " "}], "turn 1 (user) is empty"),
        ([{"role": "user"}], "turn 1 (user) has no `content`, `value` or `text` (it has 'role')"),
        (
            [{"role": "user", "message": "u", "id": 1, "date": 2, "by": 3}],
            "turn 1 (user) has no `content`, `value` or `text` (it has 'role', 'message', 'id', 'date', ...)",
        ),
        ([{"role": "user", "content": None}], "turn 1 (user) is empty"),
        ([{"role": "user", "content": "", "text": ""}], "turn 1 (user) is empty"),
        ([{"role": "user", "content": [{"type": "text"}]}], "turn 1 (user) has a part that is no text but 'text'"),
        (
            [{"role": "user", "content": [{"type": "image_url"}]}],
            "turn 1 (user) has a part that is no text but 'image_url'",
        ),
        ([{"role": "user", "content": [7]}], "turn 1 (user) has a part that is no text"),
        ([{"role": "user", "content": []}], "turn 1 (user) is empty"),
        ([{"role": "user", "content": {"a": 1}}], "turn 1 (user) is an object, not a text"),
        (
            [*cell(U, A), {**cell(A)[0], "weight": 0}],
            "turn 3 is assistant after assistant of another weight: they cannot be joined",
        ),
        (cell(U, S, A), "turn 2 is system after user, where assistant is due"),
        (cell(S, S), "no turn but the system's"),
        (cell(S), "no turn but the system's"),
    ],
)
def test_why_a_conversation_will_not_do(value: object, reason: str) -> None:
    assert why(value) == reason


roles = st.sampled_from(["system", "user", "assistant"])


def places_of_answers(said: list[str]) -> list[int] | None:
    # The obvious twin: one role's run is a turn; [system], [a greeting], then user and assistant; None: out of order.
    turns = [role for role, _ in groupby(said)]
    begin = turns[:1] == ["system"]
    begin += turns[begin : begin + 1] == ["assistant"]
    rest = turns[begin:]
    if turns in ([], ["system"]) or rest != (["user", "assistant"] * len(rest))[: len(rest)]:
        return None
    return [begin + place for place, role in enumerate(rest) if role == "assistant"]


@settings(max_examples=300, deadline=None)
@given(st.lists(roles, max_size=7), st.booleans())
def test_every_order_of_roles(said: list[str], need: bool) -> None:
    value = [{"role": role, "content": f"{place}"} for place, role in enumerate(said)]
    places = places_of_answers(said)
    try:
        rows = split_turns(read_turns(value), need)
    except BadRow:
        assert not places or (need and said[-1] == "user")
        return
    assert places is not None
    if said[-1] == "user":
        assert [answer for _, answer in rows] == [None]
    elif not need:
        assert [len(asked) for asked, _ in rows] == places[-1:]
    else:
        assert [len(asked) for asked, _ in rows] == places
        answers = [answer.split("\n\n") for _, answer in rows if answer is not None]
        assert len(answers) == len(rows)
        assert all(said[int(place)] == "assistant" for places in answers for place in places)
    assert all(asked[-1].role == "user" for asked, _ in rows)


def test_parts_of_a_turn_are_joined() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "text", "text": "here"}, "please"]
    assert read_turns([{"role": "user", "content": parts}]).turns == (Message("user", "look\nhere\nplease"),)


def test_a_greeting_is_context() -> None:
    greeted = read_turns(cell(S, A, U, A))
    assert greeted == Conversation((S, A, U, A), frozenset({1}), (GREETED,))
    assert split_turns(greeted) == [((S, A, U), "a")]
    assert split_turns(read_turns(cell(A, U, A), "s")) == [((S, A, U), "a")]
    with pytest.raises(BadRow, match="no answer to learn"):
        split_turns(read_turns(cell(A)))


def test_turns_of_one_role_in_a_row_are_joined() -> None:
    read = read_turns(cell(U, Message("user", "v"), A, Message("assistant", "b")))
    assert (read.turns, read.told) == ((Message("user", "u\n\nv"), Message("assistant", "a\n\nb")), (DOUBLED,))
    assert read_turns(cell(S, Message("system", "t"), U, A)).turns[0] == Message("system", "s\n\nt")
    assert split_turns(read_turns(cell(A, A, U, A))) == [((Message("assistant", "a\n\na"), U), "a")]


@pytest.mark.parametrize("mark", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"trainable": False}])
def test_answers_of_no_weight_are_context(mark: dict[str, object]) -> None:
    turns = [*cell(U), {**cell(A)[0], **mark}, *cell(U), {**cell(A)[0], "weight": 1}]
    read = read_turns(turns)
    assert read.told == (UNWEIGHTED,)
    assert split_turns(read) == [((U, A, U), "a")]
    with pytest.raises(BadRow, match="no answer to learn"):
        split_turns(read_turns(turns[:2]))


def test_thoughts_are_left_out_and_that_is_told() -> None:
    assert read_turns([*cell(U), {**cell(A)[0], "reasoning_content": "hm"}]).told == (THOUGHT,)


def test_earlier_turns() -> None:
    assert (
        read_history([["u", "a"]]).turns
        == read_history('[["u", "a"]]').turns
        == read_history(cell(U, A)).turns
        == (U, A)
    )
    assert read_history(None).turns == read_history([]).turns == ()
    for wrong in ([["u"]], [["u", ""]], [7], [["u", 7]]):
        with pytest.raises(BadRow, match="not a list of pairs"):
            read_history(wrong)
    later = Conversation((U, A))
    assert split_turns(read_history([["u", "b"]]) + later) == [((U, Message("assistant", "b"), U), "a")]


def test_what_holds_turns() -> None:
    assert holds_turns(cell(U))
    assert holds_turns([{"from": "human"}])
    assert not any(map(holds_turns, ([], ["a"], "[1]", None, [{"text": "a"}])))


@pytest.mark.parametrize("key", ["content", "value", "text"])
@pytest.mark.parametrize("role", ["role", "from"])
def test_what_is_said_may_stand_under_each_of_the_usual_keys(role: str, key: str) -> None:
    turns = [{role: "user", key: "u"}, {role: "assistant", key: [{"type": "text", "text": "a"}]}]
    assert read_turns(turns).turns == (Message("user", "u"), Message("assistant", "a"))
    beside = [{role: "user", "content": None, "value": "", key: "u"}, {role: "assistant", key: "a"}]
    assert read_turns(beside).turns[0].content == "u"


@pytest.mark.parametrize(
    "mark",
    [{"weight": 0}, {"weight": "0"}, {"weight": 0.0}, {"train": False}, {"train": 0}, {"train": "false"}, {"trainable": False},
     {"loss": False}, {"loss_mask": 0}],
)  # fmt: skip
def test_a_turn_that_says_so_in_any_spelling_is_not_learned(mark: dict[str, object]) -> None:
    turns = read_turns([*cell(U), {"role": "assistant", "content": "bad", **mark}, *cell(U, A)])
    assert turns.told == (UNWEIGHTED,)
    assert [answer for _, answer in split_turns(turns)] == ["a"]


@pytest.mark.parametrize(("weight", "told"), [(0.5, (WEIGHTED,)), ("2", (WEIGHTED,)), (1, ()), (1.0, ()), (None, ())])
def test_a_weight_that_cannot_be_kept_is_told(weight: object, told: tuple[str, ...]) -> None:
    turns = read_turns([*cell(U), {"role": "assistant", "content": "a", "weight": weight}])
    assert turns.told == told
    assert [answer for _, answer in split_turns(turns)] == ["a"]


@pytest.mark.parametrize("nothing", [None, "", " ", [], "[]"])
def test_no_history(nothing: object) -> None:
    assert read_history(nothing) == Conversation(())


@pytest.mark.parametrize("nothing", [None, "", [], "[]"])
def test_no_turns_are_a_row_that_says_nothing(nothing: object) -> None:
    with pytest.raises(Missing, match="no turns"):
        read_turns(nothing)


def test_of_rows_to_predict_the_last_answer_alone_is_asked_for() -> None:
    two = Conversation((U, A, U, Message("assistant", "b")))
    assert split_turns(two, need_answers=False) == [((U, A, U), "b")]
    assert [answer for _, answer in split_turns(two)] == ["a", "b"]
