"""From texts, or pairs of them, and labels to token ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxtune.data.batching import padded
from proxtune.data.dataset import Encoded, flat
from proxtune.data.examples import BETWEEN, Examples, Split
from proxtune.data.labels import ClassNumbers
from proxtune.data.split import select_examples
from proxtune.errors import UserError
from proxtune.models.control_tokens import control_tokens, text_ids, written_notes
from proxtune.models.tokenizer.loading import reading_notes
from proxtune.models.tokenizer.padding import agree_on_padding
from proxtune.models.tokenizer.saving import set_option
from proxtune.models.tokenizer.vocabulary import unknown_notes
from proxtune.tasks.classification.objective import LABELS
from proxtune.tasks.lengths import useful_length

_ROWS, _CHARACTERS = 1024, 1 << 20  # that are tokenised at a time
# Characters of a token, on the average of a whole text, at the most: a text is cut there before it is tokenised.
_LONGEST_TOKENS = 32


def ready_for_texts(tokenizer: Any, config: Any, split: Split[Examples]) -> tuple[str, ...]:
    """Let tokenizer and config pad alike, and the tokenizer read control tokens in texts as text; what to say of it.

    Raises UserError where the tokenizer knows next to none of the words.
    """
    set_option(tokenizer, "split_special_tokens", True)
    texts = [text for rows in (split.train, split.validation) for text in (*rows.texts, *rows.second_texts)]
    return (
        *reading_notes(tokenizer),
        *agree_on_padding(tokenizer, config),
        *unknown_notes(tokenizer, split.train.texts),
        *written_notes(map(control_tokens(tokenizer).found_in, texts)),
    )


@dataclass(frozen=True, slots=True)
class Tokens:
    """Rows as ids, whole or so long that they will be cut; with the types of the tokens of pairs where the model reads those."""

    ids: list[np.ndarray]
    types: list[np.ndarray] | None = None

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, (rows,)."""
        return np.asarray([len(row) for row in self.ids], dtype=np.int64)


def encode(
    examples: Examples, labels: Sequence[str], tokenizer: Any, max_length: int, *, has_types: bool = False
) -> Encoded:
    """Tokenise every row once, cut at `max_length` tokens; counts the rows that were cut.

    A pair is cut at the end of its longer text. `has_types`: the model tells the texts of a pair apart by the types of their
    tokens. Raises UserError for a label that `labels` does not hold, naming its line.
    """
    tokens = tokens_of(examples, tokenizer, max_length, has_types)
    return _encoded(examples, tokens, labels, tokenizer, max_length)


def encode_parts(
    parts: tuple[Examples, Examples],
    labels: Sequence[str],
    tokenizer: Any,
    max_length: int,
    *,
    cuts_outliers: bool,
    has_types: bool = False,
) -> tuple[Encoded, Encoded]:
    """Training and validation rows as `encode` has them; with `cuts_outliers`, a few that are far longer are cut as well."""
    train, validation = (tokens_of(part, tokenizer, max_length, has_types) for part in parts)
    if cuts_outliers:
        lengths = np.concatenate([train.lengths, validation.lengths])
        max_length = min(max_length, padded(useful_length(lengths, max_length)))
    return (
        _encoded(parts[0], train, labels, tokenizer, max_length),
        _encoded(parts[1], validation, labels, tokenizer, max_length),
    )


def tokens_of(examples: Examples, tokenizer: Any, max_length: int, has_types: bool = False) -> Tokens:
    """Tokenise every row once; of a row of more than `max_length` tokens not all need be there."""
    if examples.second_column is None:
        return Tokens(_single_ids(examples.texts, tokenizer, max_length))
    mark = mark_between(tokenizer)
    if mark is not None:
        joined = [mark.join(pair) for pair in zip(examples.texts, examples.second_texts, strict=True)]
        return Tokens(_single_ids(joined, tokenizer, max_length))
    made = _tokenised(examples, tokenizer, max_length, has_types)
    return Tokens([ids for ids, _ in made], [types for _, types in made] if has_types else None)


def mark_between(tokenizer: Any) -> str | None:
    """What has to be put between the texts of a pair, which are then one text; None where the tokenizer parts them itself."""
    one = tokenizer("a", add_special_tokens=False)["input_ids"]

    def is_parted(*texts: str) -> bool:
        ids = tokenizer(*texts)["input_ids"]
        return not any(ids[place : place + 2 * len(one)] == 2 * one for place in range(len(ids)))

    if is_parted("a", "a"):
        return None
    return "\n" if is_parted("a\na") else BETWEEN


def _single_ids(texts: Sequence[str], tokenizer: Any, max_length: int) -> list[np.ndarray]:
    most, control = _LONGEST_TOKENS * max_length, control_tokens(tokenizer)
    empty = np.asarray([tokenizer.pad_token_id or 0], dtype=np.int32)

    def read(some: Sequence[str]) -> list[np.ndarray]:
        return [row if len(row) else empty for row in text_ids(some, tokenizer, control, add_special_tokens=True)]

    ids: list[np.ndarray] = []
    for some in _pieces([text[:most] for text in texts]):
        begin = len(ids)
        ids += read(some)
        for place in range(begin, len(ids)):
            if len(texts[place]) > most and len(ids[place]) <= max_length:  # spaces, say, that make no tokens
                ids[place] = read([texts[place]])[0]
    return ids


def _pieces(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in order, a thousand or a million characters at a time."""
    begin = size = 0
    for place, text in enumerate(texts):
        if place > begin and (place - begin == _ROWS or size + len(text) > _CHARACTERS):
            yield texts[begin:place]
            begin, size = place, 0
        size += len(text)
    if begin < len(texts):
        yield texts[begin:]


def _tokenised(
    examples: Examples, tokenizer: Any, max_length: int, has_types: bool, cuts: bool = False
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids and types of pairs; with `cuts`, in at most `max_length` tokens by the tokenizer's own hand."""
    most = _LONGEST_TOKENS * max_length
    found: list[tuple[np.ndarray, np.ndarray]] = []
    cut = {"truncation": "longest_first", "max_length": max_length} if cuts else {}
    for begin in range(0, len(examples), _ROWS):
        first, second = (
            [text[:most] for text in texts[begin : begin + _ROWS]] for texts in (examples.texts, examples.second_texts)
        )
        made = tokenizer(
            first,
            second,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=has_types,
            **cut,
        )
        types = made["token_type_ids"] if has_types else [()] * len(first)
        found += [
            (np.asarray(ids, dtype=np.int32), np.asarray(own, dtype=np.int32))
            for ids, own in zip(made["input_ids"], types, strict=True)
        ]
    if cuts:
        tokenizer("a")  # so that it is not saved as one that cuts
    return found


def _encoded(examples: Examples, tokens: Tokens, labels: Sequence[str], tokenizer: Any, max_length: int) -> Encoded:
    too_long = np.flatnonzero(tokens.lengths > max_length)
    ids, types = list(tokens.ids), None if tokens.types is None else list(tokens.types)
    if len(too_long) and examples.second_column is not None and mark_between(tokenizer) is None:
        pairs = select_examples(examples, too_long.tolist())
        made = _tokenised(pairs, tokenizer, max_length, types is not None, cuts=True)
        for place, (row, own) in zip(too_long, made, strict=True):
            ids[place] = row
            if types is not None:
                types[place] = own
    elif len(too_long):
        closing = _closing(tokenizer)
        for place in too_long:
            ids[place] = _cut(ids[place], max_length, closing)
    flat_ids, starts = flat(ids)
    return Encoded(
        ids=flat_ids,
        starts=starts,
        labels=_numbers(examples, labels),
        truncated=len(too_long),
        objective=LABELS,
        types=None if types is None else flat(types)[0],
    )


def _numbers(examples: Examples, labels: Sequence[str]) -> np.ndarray:
    """The class of each row, (rows,); empty where there are no labels."""
    if examples.label_column is None:
        return np.zeros(0, dtype=np.int64)
    classes, found = ClassNumbers(labels), np.empty(len(examples), dtype=np.int64)
    for row, label in enumerate(examples.labels):
        number = classes.find(label)
        if number is None:
            raise UserError(
                f"{examples.source} line {examples.lines[row]}: label {label!r} was never seen in training "
                f"(labels: {', '.join(labels[:8])}{', …' if len(labels) > 8 else ''}); correct it or drop the row"
            )
        found[row] = number
    return found


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
