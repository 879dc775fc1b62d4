"""A conversation in a cell → what is asked and what is answered, once for each turn of the assistant that is to be learned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from proxtune.data.bad_rows import BadRow, Missing
from proxtune.data.examples import Message
from proxtune.data.values import is_blank, kind_of

# OpenAI's and Hugging Face's words, then ShareGPT's and those of other collections.
_ROLES = {
    **{"system": "system", "developer": "system"},
    **{"user": "user", "human": "user", "prompter": "user"},
    **{"assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant"},
}
_TOOLS = ("tool", "function", "observation", "ipython")  # how the roles of tools' turns begin
_CONTENTS = ("content", "value", "text")  # keys of what is said: OpenAI's, ShareGPT's, and that of others
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_MARKS = ("weight", "train", "trainable", "loss", "loss_mask")  # of a turn, whether it is learned
_NOT_LEARNED = ("0", "0.0", "false", "no")
_SHOWN = 4  # keys in a message
_MOST_TURNS = 1_000  # each answer is a row with all turns before it: their number grows with the square

GREETED = "a conversation begins with the assistant: that turn is context, not an answer to learn"
UNWEIGHTED = "an answer has the weight 0: it is context, and is not learned"
DOUBLED = "turns of one role follow one another: they are joined"
THOUGHT = "what the assistant thought (`reasoning_content`, `reasoning`, `thinking`) is left out"
WEIGHTED = "an answer has a weight other than 0 and 1: it is learned like any other"
OTHER_SYSTEM = "the conversation has a system's turn of its own: the one in its column is not used"


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns: a system's or none, a greeting or none, then user and assistant by turns.

    `context` are the places of the assistant's turns that are not learned, `told` what the user should know of how it was read.
    """

    turns: tuple[Message, ...]
    context: frozenset[int] = frozenset()
    told: tuple[str, ...] = ()

    def __add__(self, later: Conversation) -> Conversation:
        """This one, of which nothing is learned, and what follows it."""
        own = {place for place, turn in enumerate(self.turns) if turn.role == "assistant"}
        theirs = {place + len(self.turns) for place in later.context}
        told = tuple(dict.fromkeys((*self.told, *later.told)))
        return Conversation((*self.turns, *later.turns), frozenset(own | theirs), told)


def is_conversation(cell: object) -> bool:
    """Whether a cell holds turns: a list, or a list written as JSON, as a CSV file has it."""
    return isinstance(cell, list) or (isinstance(cell, str) and cell.lstrip().startswith("["))


def holds_turns(cell: object) -> bool:
    """Whether a cell is a list of objects that have a role."""
    return (
        isinstance(cell, list)
        and bool(cell)
        and all(isinstance(t, dict) and ("role" in t or "from" in t) for t in cell)
    )


def has_question(cell: object) -> bool:
    """Whether a cell is a list of turns, one of them the user's."""
    if not isinstance(cell, list) or not holds_turns(cell):
        return False
    return any(_ROLES.get(str(turn.get("role", turn.get("from"))).strip().lower()) == "user" for turn in cell)


def read_turns(cell: object, system: str | None = None) -> Conversation:
    """The turns of a conversation; `system` is put first where it has no system's turn of its own. Raises BadRow."""
    values = [(place, _object(place, value)) for place, value in enumerate(_values(cell), start=1)]
    turns, context, told = list[Message](), set[int](), list[str]()
    for place, value in values:
        turn = _turn(place, value)
        before = turns[-1].role if turns else None
        told += [THOUGHT] if any(value.get(key) for key in _THOUGHTS) else []
        told += [WEIGHTED] if turn.role == "assistant" and _has_other_weight(value) else []
        if turn.role == before:
            if turn.role == "assistant" and _is_left_out(value) != _is_left_out(values[place - 2][1]):
                raise BadRow(f"turn {place} is {turn.role} after {before} of another weight: they cannot be joined")
            turns[-1] = Message(turn.role, f"{turns[-1].content}\n\n{turn.content}")
            told.append(DOUBLED)
            continue
        if turn.role == "system" and before is not None:
            due = "assistant" if before == "user" else "user"
            raise BadRow(f"turn {place} is system after {before}, where {due} is due")
        if turn.role == "assistant" and before in (None, "system"):
            context.add(len(turns))
            told.append(GREETED)
        if turn.role == "assistant" and _is_left_out(value):
            context.add(len(turns))
            told.append(UNWEIGHTED)
        turns.append(turn)
    if turns[-1].role == "system":
        raise BadRow("no turn but the system's")
    if system is not None and turns[0].role == "system":
        told += [OTHER_SYSTEM] if system.strip() != turns[0].content.strip() else []
    elif system is not None:
        turns.insert(0, Message("system", system))
        context = {place + 1 for place in context}
    return Conversation(tuple(turns), frozenset(context), tuple(dict.fromkeys(told)))


def read_history(cell: object) -> Conversation:
    """Earlier questions and answers, a list of pairs, as turns. Raises BadRow."""
    if isinstance(cell, str) and is_conversation(cell):
        cell = _parsed(cell)
    if cell is None or cell == [] or (isinstance(cell, str) and is_blank(cell)):
        return Conversation(())
    if holds_turns(cell):
        return read_turns(cell)
    turns: list[Message] = []
    for pair in _values(cell):
        if not (
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(said, str) and not is_blank(said) for said in pair)
        ):
            raise BadRow("the history is not a list of pairs, each a question and an answer")
        turns += [Message("user", pair[0]), Message("assistant", pair[1])]
    return Conversation(tuple(turns))


def split_turns(conversation: Conversation, need_answers: bool = True) -> list[tuple[tuple[Message, ...], str | None]]:
    """Each of the assistant's turns that is to be learned with the turns before it.

    A conversation that ends with the user waits for one answer: it raises BadRow, or unless `need_answers` is one row
    without an answer. Unless `need_answers`, one that ends with the assistant asks for that last answer alone.
    """
    turns = conversation.turns
    if not need_answers and [turn.role for turn in turns[-2:]] == ["user", "assistant"]:
        return [(turns[:-1], turns[-1].content)]
    if turns[-1].role == "user":
        if need_answers:
            raise BadRow("ends with user, not with assistant")
        return [(turns, None)]
    answers = [
        place for place, turn in enumerate(turns) if turn.role == "assistant" and place not in conversation.context
    ]
    if not answers:
        raise BadRow("no answer to learn")
    return [(turns[:place], turns[place].content) for place in answers]


def _values(cell: object) -> list[object]:
    if isinstance(cell, str) and is_conversation(cell):
        cell = _parsed(cell)
    if cell is None or cell == [] or (isinstance(cell, str) and is_blank(cell)):
        raise Missing("no turns")
    if not isinstance(cell, list):
        raise BadRow(f"{kind_of(cell)}, not a list of turns")
    if len(cell) > _MOST_TURNS:
        raise BadRow(f"{len(cell):,} turns, more than {_MOST_TURNS:,}")
    return cell


def _parsed(cell: str) -> object:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        raise BadRow("the turns are not JSON") from None


def _object(place: int, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise BadRow(f"turn {place} is {kind_of(value)}, not an object")
    return value


def _turn(place: int, value: Mapping[str, object]) -> Message:
    role_given = value.get("role", value.get("from"))
    if not isinstance(role_given, str):
        raise BadRow(
            f"turn {place} has no `role` or `from` ({_keys(value)})"
            if role_given is None
            else f"the role of turn {place} is {kind_of(role_given)}, not a word"
        )
    called = _tool_called(value)
    if called is not None:
        raise BadRow(f"turn {place} calls the tool {called!r}; calls of tools cannot be learned")
    name = role_given.strip().lower()
    if name.startswith(_TOOLS):
        raise BadRow(f"turn {place} is of a tool ({role_given[:20]!r}); conversations with tools cannot be learned")
    role = _ROLES.get(name)
    if role is None:
        raise BadRow(f"turn {place} has the unknown role {role_given[:20]!r}")
    where = f"turn {place} ({role})"
    keys = [key for key in _CONTENTS if key in value]
    if not keys:
        raise BadRow(f"{where} has no `content`, `value` or `text` ({_keys(value)})")
    said = next((key for key in keys if value[key] not in (None, "", [])), keys[0])
    return Message(role, _content(where, value[said]))


def _keys(value: Mapping[str, object]) -> str:
    """What a turn has in place of what is looked for, to show."""
    shown = ", ".join(repr(key[:20]) for key in list(value)[:_SHOWN]) + (", ..." if len(value) > _SHOWN else "")
    return f"it has {shown}" if shown else "it is an empty object"


def _content(where: str, content: object) -> str:
    if isinstance(content, list):
        content = "\n".join(_part(where, part) for part in content)
    if content is None or (isinstance(content, str) and is_blank(content)):
        raise BadRow(f"{where} is empty")
    if not isinstance(content, str):
        raise BadRow(f"{where} is {kind_of(content)}, not a text")
    return content


def _part(where: str, part: object) -> str:
    """What a part of a turn says. Raises BadRow for one that is no text."""
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, dict) else None
    if not isinstance(text, str):
        kind = part.get("type") if isinstance(part, dict) else None
        raise BadRow(f"{where} has a part that is no text" + (f" but {kind[:20]!r}" if isinstance(kind, str) else ""))
    return text


def _tool_called(value: Mapping[str, object]) -> str | None:
    calls = value.get("tool_calls") or value.get("function_call")
    if not calls:
        return None
    first = calls[0] if isinstance(calls, list) else calls
    named = first.get("function", first) if isinstance(first, dict) else first
    name = named.get("name") if isinstance(named, dict) else named
    return str(name)[:40] if name else "?"


def _is_left_out(value: Mapping[str, object]) -> bool:
    """Whether a turn says of itself that it is not to be learned."""
    return any(str(value.get(mark)).strip().lower() in _NOT_LEARNED for mark in _MARKS)


def _has_other_weight(value: Mapping[str, object]) -> bool:
    weight = str(value.get("weight", 1)).strip()
    return not _is_left_out(value) and weight not in ("None", "1", "1.0", "True", "true")
