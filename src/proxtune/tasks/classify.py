"""Classification: one text in, one of the person's labels out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from proxtune.errors import PersonError
from proxtune.examples import Examples


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


def longest_allowed(tokenizer: Any, config: Any) -> int:
    """Tokens that the model takes at most."""
    limits = [
        limit
        for limit in (getattr(tokenizer, "model_max_length", None), getattr(config, "max_position_embeddings", None))
        if isinstance(limit, int) and 0 < limit < 10**6
    ]
    if "roberta" in config.model_type and limits:
        limits.append(min(limits) - 2)  # its position ids begin after the padding id
    return min(limits, default=512)


def encode(examples: Examples, labels: list[str], tokenizer: Any, max_length: int) -> Encoded:
    """Tokenise every row once, cut at `max_length` tokens; counts the rows that were cut.

    Raises PersonError for a label that `labels` does not hold, naming its line.
    """
    index = {label: i for i, label in enumerate(labels)}
    ids: list[np.ndarray] = []
    for begin in range(0, len(examples), 1024):
        texts = examples.texts[begin : begin + 1024]
        for row in tokenizer(texts, add_special_tokens=True, return_attention_mask=False)["input_ids"]:
            ids.append(np.asarray(row if row else [tokenizer.pad_token_id or 0], dtype=np.int32))
    truncated = sum(len(row) > max_length for row in ids)
    if truncated:
        closing = _closing(tokenizer)
        ids = [row if len(row) <= max_length else _cut(row, max_length, closing) for row in ids]
    starts = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in ids], out=starts[1:])
    flat = np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32)
    if examples.label_column is None:
        return Encoded(flat, starts, np.zeros(0, dtype=np.int64), truncated)
    numbers = np.empty(len(examples), dtype=np.int64)
    for row_number, label in enumerate(examples.labels):
        if label not in index:
            raise PersonError(
                f"{examples.source} line {examples.lines[row_number]}: label {label!r} was never seen in training "
                f"(labels: {', '.join(labels[:8])}{', …' if len(labels) > 8 else ''}); correct it or drop the row"
            )
        numbers[row_number] = index[label]
    return Encoded(flat, starts, numbers, truncated)


def alike(data: Encoded, rows: int, length: int) -> Encoded:
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


def take(data: Encoded, rows: np.ndarray) -> Encoded:
    """Some of the rows, by number."""
    pieces = [data.ids[data.starts[row] : data.starts[row + 1]] for row in rows]
    starts = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(piece) for piece in pieces], out=starts[1:])
    return Encoded(
        np.concatenate(pieces), starts, data.labels[rows] if len(data.labels) else data.labels, 0,
        None if data.begins is None else data.begins[rows], None if data.answers is None else take(data.answers, rows),
    )  # fmt: skip


def _closing(tokenizer: Any) -> list[int]:
    """What the tokenizer puts at the end of every text: [SEP], a question, or nothing."""
    none, one = (tokenizer(text, add_special_tokens=True)["input_ids"] for text in ("", "a"))
    closing: list[int] = []
    while len(closing) < len(none) and len(closing) < len(one) and none[-1 - len(closing)] == one[-1 - len(closing)]:
        closing.insert(0, none[-1 - len(closing)])
    return closing


def _cut(row: np.ndarray, max_length: int, closing: list[int]) -> np.ndarray:
    """Keep the beginning of a text, and what closes every text."""
    kept = row[:max_length].copy()
    if closing:
        kept[-len(closing) :] = closing[-max_length:]
    return kept
