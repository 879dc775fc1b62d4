"""Rows as token ids, in one flat array, and the objective that they are learned by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np


class Objective(Protocol):
    """What a model is trained for on some rows, and how it is scored. `rows` are row numbers of `data`."""

    @property
    def long_rows(self) -> bool:
        """Whether rows are long and of many lengths: memory then goes back between computations."""
        ...

    @property
    def reads_vocabulary(self) -> bool:
        """Whether the model's head is a table with a row for each token, all of which are read."""
        ...

    def outputs(self, model: Any, data: Encoded, rows: np.ndarray, pad_id: int) -> Any:
        """What the model makes of each row, (rows, numbers): all that `score` needs. Forward only."""
        ...

    def loss(
        self, model: Any, data: Encoded, rows: np.ndarray, pad_id: int, whole: np.ndarray, teacher: np.ndarray | None = None
    ) -> Any:
        """The part that `rows` have in the mean loss over the `whole` batch, with a graph.

        `teacher`: outputs of all rows to learn from besides, (rows, numbers).
        """
        ...

    def score(self, outputs: np.ndarray, data: Encoded) -> dict[str, float]:
        """Metrics by name of the outputs of all rows; `loss` is among them."""
        ...

    def rank(self, metrics: Mapping[str, float]) -> tuple[float, float]:
        """A pair that is larger where the metrics are better; its first number is not negative."""
        ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of all rows end to end, with each row's place: row i is ids[starts[i]:starts[i + 1]].

    One flat array: a list of lists takes ten times the memory. Rows of text generation say where in them the answer `begins`;
    an encoder-decoder's have it apart, in `answers`.
    """

    ids: np.ndarray  # (tokens,) int32
    starts: np.ndarray  # (rows + 1,) int64
    labels: np.ndarray  # (rows,) int64; empty when there are none
    truncated: int
    objective: Objective
    begins: np.ndarray | None = None  # (rows,) int64, in tokens from the row's start
    answers: Encoded | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    def tokens(self, rows: np.ndarray) -> np.ndarray:
        """The different tokens of some rows."""
        return np.unique(np.concatenate([self.ids[self.starts[row] : self.starts[row + 1]] for row in rows]))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, or of its answer where that is apart and longer."""
        own = np.diff(self.starts)
        return own if self.answers is None else np.maximum(own, self.answers.lengths)

    @property
    def answer_lengths(self) -> np.ndarray:
        """Tokens of each answer."""
        if self.answers is not None:
            return self.answers.lengths
        assert self.begins is not None, "rows have answers"
        return np.diff(self.starts) - self.begins


def rows_like(data: Encoded, rows: int, length: int) -> Encoded:
    """So many rows of `length` tokens in the form of `data`; a decoder's end in an answer of one token."""
    every = np.arange(rows + 1, dtype=np.int64)
    found = Encoded(
        ids=np.ones(rows * length, dtype=np.int32),
        starts=every * length,
        labels=np.zeros(rows, dtype=np.int64),
        truncated=0,
        objective=data.objective,
    )
    if data.begins is None:
        return found
    if data.answers is None:
        return replace(found, begins=np.full(rows, length - 1))
    longest = min(length, int(data.answer_lengths.max()))
    answers = replace(found, ids=np.ones(rows * longest, dtype=np.int32), starts=every * longest, labels=found.labels[:0])
    return replace(found, begins=np.zeros(rows, dtype=np.int64), answers=answers)


def select_rows(data: Encoded, rows: np.ndarray) -> Encoded:
    """Some of the rows, by number."""
    pieces = [data.ids[data.starts[row] : data.starts[row + 1]] for row in rows]
    starts = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(piece) for piece in pieces], out=starts[1:])
    return replace(
        data,
        ids=np.concatenate(pieces),
        starts=starts,
        labels=data.labels[rows] if len(data.labels) else data.labels,
        truncated=0,
        begins=None if data.begins is None else data.begins[rows],
        answers=None if data.answers is None else select_rows(data.answers, rows),
    )
