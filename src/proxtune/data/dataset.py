"""Rows as token ids: one flat array for all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


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
    begins: np.ndarray | None = None  # (rows,) int64, in tokens from the row's start
    answers: Encoded | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    def tokens(self, rows: np.ndarray) -> np.ndarray:
        """The different tokens of some rows."""
        return np.unique(np.concatenate([self.ids[self.starts[row] : self.starts[row + 1]] for row in rows]))

    @property
    def have_answers(self) -> bool:
        """Whether the rows are learned to be answered, and not classified."""
        return self.begins is not None

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
    found = Encoded(np.ones(rows * length, dtype=np.int32), every * length, np.zeros(rows, dtype=np.int64), 0)
    if data.begins is None:
        return found
    if data.answers is None:
        return replace(found, begins=np.full(rows, length - 1))
    longest = min(length, int(data.answer_lengths.max()))
    answers = Encoded(np.ones(rows * longest, dtype=np.int32), every * longest, np.zeros(0, dtype=np.int64), 0)
    return replace(found, begins=np.zeros(rows, dtype=np.int64), answers=answers)


def select_rows(data: Encoded, rows: np.ndarray) -> Encoded:
    """Some of the rows, by number."""
    pieces = [data.ids[data.starts[row] : data.starts[row + 1]] for row in rows]
    starts = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(piece) for piece in pieces], out=starts[1:])
    return Encoded(
        np.concatenate(pieces), starts, data.labels[rows] if len(data.labels) else data.labels, 0,
        None if data.begins is None else data.begins[rows], None if data.answers is None else select_rows(data.answers, rows),
    )  # fmt: skip
