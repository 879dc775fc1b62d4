"""From texts and labels to token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from proxtune.data.dataset import Encoded, flat
from proxtune.data.examples import Examples, Split
from proxtune.errors import UserError
from proxtune.models.control_tokens import control_tokens, text_ids, written_notes
from proxtune.models.tokenizer import agree_on_padding, set_option, unknown_notes
from proxtune.tasks.classification.objective import LABELS


def ready_for_texts(tokenizer: Any, config: Any, split: Split[Examples]) -> tuple[str, ...]:
    """Let tokenizer and config pad alike, and the tokenizer read control tokens in texts as text; what to say of it.

    Raises UserError where the tokenizer knows few of the words.
    """
    set_option(tokenizer, "split_special_tokens", True)
    texts = [*split.train.texts, *split.validation.texts]
    return (
        *agree_on_padding(tokenizer, config),
        *unknown_notes(tokenizer, split.train.texts),
        *written_notes(map(control_tokens(tokenizer).found_in, texts)),
    )


def encode(examples: Examples, labels: Sequence[str], tokenizer: Any, max_length: int) -> Encoded:
    """Tokenise every row once, cut at `max_length` tokens; counts the rows that were cut.

    Raises UserError for a label that `labels` does not hold, naming its line.
    """
    index = {label: i for i, label in enumerate(labels)}
    found = text_ids(examples.texts, tokenizer, control_tokens(tokenizer), add_special_tokens=True)
    ids = [row if len(row) else np.asarray([tokenizer.pad_token_id or 0], dtype=np.int32) for row in found]
    truncated = sum(len(row) > max_length for row in ids)
    if truncated:
        closing = _closing(tokenizer)
        ids = [row if len(row) <= max_length else _cut(row, max_length, closing) for row in ids]
    tokens, starts = flat(ids)
    if examples.label_column is None:
        return Encoded(
            ids=tokens, starts=starts, labels=np.zeros(0, dtype=np.int64), truncated=truncated, objective=LABELS
        )
    numbers = np.empty(len(examples), dtype=np.int64)
    for row_number, label in enumerate(examples.labels):
        if label not in index:
            raise UserError(
                f"{examples.source} line {examples.lines[row_number]}: label {label!r} was never seen in training "
                f"(labels: {', '.join(labels[:8])}{', …' if len(labels) > 8 else ''}); correct it or drop the row"
            )
        numbers[row_number] = index[label]
    return Encoded(ids=tokens, starts=starts, labels=numbers, truncated=truncated, objective=LABELS)


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
