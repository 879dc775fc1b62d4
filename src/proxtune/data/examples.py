"""What the files become: texts with labels, or questions with answers; and a word on how they were read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows in file order. `labels` are the file's own words ("positive", "3"); empty when there is no label column.

    `source` is the path as the user gave it and `lines[i]` the line (or 1-based row) where row i begins there.
    """

    texts: list[str]
    labels: list[str]
    source: str
    lines: list[int]
    text_column: str
    label_column: str | None
    notes: list[str] = field(default_factory=list)  # what was guessed, as text

    def __len__(self) -> int:
        return len(self.texts)

    def without_labels(self) -> Examples:
        """The texts alone."""
        return replace(self, labels=[], label_column=None, notes=[])


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows in file order: what is `prompts` (the turns so far, the last of them the user's) and what should be answered.

    A text to summarise or translate is one turn of the user, as it stands in the file. `answers` is empty when the rows have
    none. `lines` as in `Examples`; a conversation with several answers is a row for each of them, of the same line.
    """

    prompts: list[tuple[Message, ...]]
    answers: list[str]
    source: str
    lines: list[int]
    columns: tuple[str, ...]
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.prompts)

    def without_answers(self) -> Pairs:
        """What is asked alone."""
        return replace(self, answers=[], notes=[])


Rows = TypeVar("Rows", Examples, Pairs)


@dataclass(frozen=True, slots=True)
class Split(Generic[Rows]):
    """Rows to train on and validation rows."""

    train: Rows
    validation: Rows
    note: str  # how the split was made, as text


def row_name(rows: Examples | Pairs, row: int) -> str:
    """What the user calls a row: its file and line."""
    return f"{rows.source} line {rows.lines[row]}"
