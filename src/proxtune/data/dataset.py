"""Rows as token ids, in one flat array, and the objective that they are learned by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a model is trained for on some rows, and how it is scored.

    `outputs(model, data, rows, pad_id)` is what the model makes of these row numbers, (rows, numbers): all that `score` needs.
    `loss(model, data, rows, pad_id, whole, teacher)` is the part that `rows` have in the mean loss over the `whole` batch, with
    a graph; a `teacher`, outputs of all rows, may be learned from besides. `score(outputs, data)` gives metrics by name, `loss`
    among them, and `rank(metrics)` a pair that is larger where they are better, its first number not negative.
    `pads(model, data, pad_id)` tells by rows of `data` whether what the model makes of a row stays the same beside padding; it
    raises UserError for a model that cannot learn this at all. `batches(model, data, pad_id)` tells whether what it answers to a
    row stays the same beside another row.
    With `long_rows`, which are of many lengths, memory goes back between computations. With `reads_vocabulary` the model's head
    is a table with a row for each token, all of which are read.
    """

    outputs: Callable[[Any, Encoded, np.ndarray, int], Any]
    loss: Callable[[Any, Encoded, np.ndarray, int, np.ndarray, np.ndarray | None], Any]
    score: Callable[[np.ndarray, Encoded], dict[str, float]]
    rank: Callable[[Mapping[str, float]], tuple[float, float]]
    pads: Callable[[Any, Encoded, int], bool] = lambda model, data, pad_id: True
    batches: Callable[[Any, Encoded, int], bool] = lambda model, data, pad_id: True
    long_rows: bool = False
    reads_vocabulary: bool = False


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of all rows end to end, with each row's place: row i is ids[starts[i]:starts[i + 1]].

    One flat array: a list of lists takes ten times the memory. Rows of text generation say where in them the answer `begins`;
    an encoder-decoder's have it apart, in `answers`. Pairs of texts have `types`, 0 for tokens of the one and 1 for the other,
    where the model tells them apart so.
    """

    ids: np.ndarray  # (tokens,) int32
    starts: np.ndarray  # (rows + 1,) int64
    labels: np.ndarray  # (rows,) int64; empty when there are none
    truncated: int
    objective: Objective
    begins: np.ndarray | None = None  # (rows,) int64, in tokens from the row's start
    answers: Encoded | None = None
    types: np.ndarray | None = None  # (tokens,) int32

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


def flat(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of rows end to end, (tokens,) int32, and where each begins, (rows + 1,)."""
    starts = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=starts[1:])
    return (np.concatenate(rows) if len(rows) else np.zeros(0, dtype=np.int32)), starts


def rows_like(data: Encoded, rows: int, length: int) -> Encoded:
    """So many rows of `length` tokens in the form of `data`, all alike; a decoder's end in an answer of one token."""
    every = np.arange(rows + 1, dtype=np.int64)
    found = Encoded(
        ids=np.tile(_example(data, length), rows),
        starts=every * length,
        labels=np.zeros(rows, dtype=np.int64),
        truncated=0,
        objective=data.objective,
        types=None if data.types is None else np.zeros(rows * length, dtype=np.int32),
    )
    if data.begins is None:
        return found
    if data.answers is None:
        return replace(found, begins=np.full(rows, length - 1))
    longest = min(length, int(data.answer_lengths.max()))
    answers = replace(
        found, ids=np.ones(rows * longest, dtype=np.int32), starts=every * longest, labels=found.labels[:0]
    )
    return replace(found, begins=np.zeros(rows, dtype=np.int64), answers=answers)


def _example(data: Encoded, length: int) -> np.ndarray:
    """The longest row at `length` tokens, cut or filled up before its last, which may be one that a model looks for."""
    row = int(np.diff(data.starts).argmax())
    own = data.ids[data.starts[row] : data.starts[row + 1]]
    middle = np.full(max(0, length - len(own)), own[len(own) // 2], dtype=np.int32)
    return np.concatenate([own[: length - 1][: len(own) - 1], middle, own[-1:]]).astype(np.int32)


def shortest_row(data: Encoded) -> Encoded:
    """The row of the fewest tokens alone."""
    return select_rows(data, np.asarray([data.lengths.argmin()]))


def select_rows(data: Encoded, rows: np.ndarray) -> Encoded:
    """Some of the rows, by number."""
    ids, starts = flat([data.ids[data.starts[row] : data.starts[row + 1]] for row in rows])
    return replace(
        data,
        ids=ids,
        starts=starts,
        labels=data.labels[rows] if len(data.labels) else data.labels,
        truncated=0,
        begins=None if data.begins is None else data.begins[rows],
        answers=None if data.answers is None else select_rows(data.answers, rows),
        types=None
        if data.types is None
        else flat([data.types[data.starts[row] : data.starts[row + 1]] for row in rows])[0],
    )


def evenly_spaced_rows(rows: int, most: int) -> np.ndarray:
    """At most `most` of so many rows, evenly spread: their numbers, (at most `most`,) int64.

    Examples
    --------
    >>> evenly_spaced_rows(100, 5).tolist()
    [0, 25, 50, 74, 99]
    """
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).round().astype(np.int64))
