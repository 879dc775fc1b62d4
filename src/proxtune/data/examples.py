"""What the files become: texts with labels, or questions with answers; and a word on how they were read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

BETWEEN = " ||| "  # the texts of a pair, where they are shown or typed as one


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows in file order. `labels` are the file's own words ("positive", "3"); empty when there is no label column.

    `source` is the path as the user gave it and `lines[i]` the line (or 1-based row) where row i begins there. Where a row is a
    pair of texts, `second_texts` holds the other ones. `blank` are the places, among all rows of the file, of those that say
    nothing and are not here, where that is allowed.
    """

    texts: list[str]
    labels: list[str]
    source: str
    lines: list[int]
    text_column: str
    label_column: str | None
    notes: list[str] = field(default_factory=list)  # what was guessed, as text
    second_texts: list[str] = field(default_factory=list)
    second_column: str | None = None
    blank: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def whole_texts(self) -> list[str]:
        """What each row says; of a pair the one text after the other."""
        if self.second_column is None:
            return self.texts
        return [BETWEEN.join(pair) for pair in zip(self.texts, self.second_texts, strict=True)]

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The column of the texts, or the two of pairs."""
        return (self.text_column,) if self.second_column is None else (self.text_column, self.second_column)

    def followed_by(self, others: Examples) -> Examples:
        """These rows and then the texts of others."""
        return replace(
            self,
            texts=self.texts + others.texts,
            second_texts=self.second_texts + others.second_texts,
            lines=self.lines + others.lines,
        )

    def without_labels(self) -> Examples:
        """The texts alone."""
        return replace(self, labels=[], label_column=None)


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
    text_column: str | None = None  # of what is asked, or of whole conversations
    label_column: str | None = None  # of the answers
    blank: tuple[int, ...] = ()  # as in `Examples`

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The column of what is asked, or none for rows from no file."""
        return () if self.text_column is None else (self.text_column,)

    def followed_by(self, others: Pairs) -> Pairs:
        """These rows and then what others ask."""
        return replace(self, prompts=self.prompts + others.prompts, lines=self.lines + others.lines)

    def without_answers(self) -> Pairs:
        """What is asked alone."""
        return replace(self, answers=[], label_column=None)


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
