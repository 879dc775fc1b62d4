"""A conversation in a cell → what is asked and what is answered, once for each turn of the assistant."""

from __future__ import annotations

import json

from proxtune.data.bad_rows import BadRow
from proxtune.data.examples import Message
from proxtune.data.values import kind_of

# OpenAI's and Hugging Face's words, then ShareGPT's.
_ROLES = {
    **{"system": "system", "developer": "system"},
    **{"user": "user", "human": "user"},
    **{"assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant"},
}
_MOST_TURNS = 1_000  # each answer is a row with all turns before it: their number grows with the square


def is_conversation(cell: object) -> bool:
    """Whether a cell holds turns: a list, or a list written as JSON, as a CSV file has it."""
    return isinstance(cell, list) or (isinstance(cell, str) and cell.lstrip().startswith("["))


def read_turns(cell: object, system: str | None = None) -> list[Message]:
    """The turns of a conversation: a system's or none, then user and assistant by turns.

    `system` is put first where the conversation has no system's turn of its own. Raises BadRow.
    """
    turns = [_turn(place, value) for place, value in enumerate(_values(cell), start=1)]
    begins = 1 if turns[0].role == "system" else 0
    for place, turn in enumerate(turns[begins:], start=begins + 1):
        due = "assistant" if (place - begins) % 2 == 0 else "user"
        if turn.role != due:
            after = f"after {turns[place - 2].role}" if place > 1 else "at the beginning"
            raise BadRow(f"turn {place} is {turn.role} {after}, where {due} is due")
    if turns[-1].role == "system":
        raise BadRow("no turn but the system's")
    return [Message("system", system), *turns] if system is not None and not begins else turns


def split_turns(turns: list[Message], need_answers: bool = True) -> list[tuple[tuple[Message, ...], str | None]]:
    """Each of the assistant's turns with the turns before it.

    A conversation that ends with the user waits for one answer: it raises BadRow, or unless `need_answers` is one row
    without an answer.
    """
    if turns[-1].role == "user":
        if need_answers:
            raise BadRow("ends with user, not with assistant")
        return [(tuple(turns), None)]
    return [(tuple(turns[:place]), turn.content) for place, turn in enumerate(turns) if turn.role == "assistant"]


def _values(cell: object) -> list[object]:
    if isinstance(cell, str) and is_conversation(cell):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            raise BadRow("the turns are not JSON") from None
    if cell is None:
        raise BadRow("no turns")
    if not isinstance(cell, list):
        raise BadRow(f"{kind_of(cell)}, not a list of turns")
    if not cell:
        raise BadRow("no turns")
    if len(cell) > _MOST_TURNS:
        raise BadRow(f"{len(cell):,} turns, more than {_MOST_TURNS:,}")
    return cell


def _turn(place: int, value: object) -> Message:
    if not isinstance(value, dict):
        raise BadRow(f"turn {place} is {kind_of(value)}, not an object")
    role_given = value.get("role", value.get("from"))
    if not isinstance(role_given, str):
        raise BadRow(f"turn {place} has no role")
    role = _ROLES.get(role_given.strip().lower())
    if role is None:
        raise BadRow(f"turn {place} has the unknown role {role_given[:20]!r}")
    content = value.get("content", value.get("value"))
    if content is None or (isinstance(content, str) and not content.strip()):
        raise BadRow(f"turn {place} ({role}) is empty")
    if not isinstance(content, str):
        raise BadRow(f"turn {place} ({role}) is {kind_of(content)}, not a text")
    return Message(role, content)
