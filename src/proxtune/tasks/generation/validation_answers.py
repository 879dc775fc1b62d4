"""Answers to validation rows: as many as the time allows, and what the largest piece of them takes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace

from proxtune.data.batching import padded
from proxtune.data.dataset import Encoded, evenly_spaced_rows, select_rows
from proxtune.tasks.base import ModelAtHand, TaskData
from proxtune.tasks.generation.dataset import own_data, settings_of
from proxtune.tasks.generation.decoding import (
    GenerationSettings,
    cache_bytes,
    generate_answers,
    largest_piece,
    prompt_lengths,
    tokens_at_a_time,
)

VALIDATION_ANSWERS = 64  # rows that answers are generated for, at most: each takes a pass for every token
_LEAST_ANSWERS = 16  # fewer cannot tell, and take hardly less: each token reads all weights, of however many rows
_TRIED_ROWS = (4, 16)  # rows that begin to be answered, to see what one more of them takes,
_TRIED_TOKENS = (2, 10)  # and one more token of each
_ANSWERS_SHARE = 1 / 24  # of the time that is left, for answers before training, and as much after it
_LONGER_THAN_WANTED = (
    1.25  # an answer may be than the longest that is wanted: a model that has not learned to end babbles on
)
_FEW_TOKENS = 4  # of an answer, in a dry run
_ALL_TOKENS = 1 << 40


def validation_answers(at_hand: ModelAtHand, count: int) -> list[str]:
    """What the model answers to `count` of the validation rows, or all of fewer, in their order."""
    rows = evenly_spaced_rows(len(at_hand.data.validation), count)
    some = select_rows(at_hand.data.validation, rows)
    found = _answers(at_hand, some, _settings(at_hand.data, some))
    return [found[i] for i in range(len(rows))]


def _answers(at_hand: ModelAtHand, rows: Encoded, settings: GenerationSettings) -> dict[int, str]:
    tokens = tokens_at_a_time(at_hand.plan)
    return dict(generate_answers(at_hand.model, rows, settings, at_hand.dtype, tokens, at_hand.governor))


def affordable_answers(base: ModelAtHand, seconds_left: float) -> int:
    """How many rows are answered before training and again after it, each time in a share of what is left at the most.

    A few tokens of a few rows say what a token of one more row takes: of many together far less than of one alone.
    """
    data = base.data
    if math.isinf(seconds_left):
        return VALIDATION_ANSWERS
    judged = select_rows(data.validation, evenly_spaced_rows(len(data.validation), VALIDATION_ANSWERS))
    settings, tried = _settings(data, judged), dict[tuple[int, int], float]()
    for count in _TRIED_ROWS:
        few = select_rows(judged, evenly_spaced_rows(len(judged), count))
        for tokens in _TRIED_TOKENS:
            began = time.monotonic()
            _answers(base, few, replace(settings, new_tokens=min(settings.new_tokens, tokens)))
            tried[count, tokens] = time.monotonic() - began
    most, count = _ANSWERS_SHARE * seconds_left, VALIDATION_ANSWERS
    while count > _LEAST_ANSWERS and answering_seconds(tried, count, settings.new_tokens) > most:
        count -= 1
    return count


def answering_seconds(tried: Mapping[tuple[int, int], float], rows: int, tokens: int) -> float:
    """Seconds to expect of so many rows whose answers have `tokens` each, by what fewer took.

    Reading takes what the most rows that were `tried` say, row by row; each token after it takes a + b rows.

    Parameters
    ----------
    tried
        Seconds by (rows, tokens), for two numbers of rows and of tokens each.

    Examples
    --------
    >>> tried = {(4, 2): 1.0, (4, 10): 1.8, (16, 2): 2.0, (16, 10): 4.0}  # a token: 0.1 s of 4 rows, 0.25 s of 16
    >>> round(answering_seconds(tried, 16, 10), 2), round(answering_seconds(tried, 64, 10), 2)
    (4.0, 14.5)
    """
    (few, many), (short, long) = (sorted({key[place] for key in tried}) for place in (0, 1))
    of_few, of_many = (max(0.0, tried[count, long] - tried[count, short]) / (long - short) for count in (few, many))
    each = max(0.0, of_many - of_few) / (many - few)
    reading = max(0.0, tried[many, short] - short * of_many) / many
    return reading * rows + tokens * max(0.0, of_few + each * (rows - few))


def _settings(data: TaskData, rows: Encoded) -> GenerationSettings:
    """How answers to these rows are generated, of no more tokens than can tell."""
    settings = settings_of(data)
    most = padded(math.ceil(_LONGER_THAN_WANTED * int(rows.answer_lengths.max())))
    return replace(settings, new_tokens=min(settings.new_tokens, most))


def try_largest_piece(final: ModelAtHand) -> int:
    """Begin the answers of the largest piece; returns the bytes that its cache would still grow by."""
    data = own_data(final.data)
    judged = select_rows(data.validation, evenly_spaced_rows(len(data.validation), VALIDATION_ANSWERS))
    settings = _settings(data, judged)
    largest, tokens = largest_piece(final.model, judged, settings, tokens_at_a_time(final.plan))
    few = replace(settings, new_tokens=min(settings.new_tokens, _FEW_TOKENS))
    chosen = select_rows(judged, largest)
    list(generate_answers(final.model, chosen, few, final.dtype, _ALL_TOKENS, final.governor))
    begun = len(largest) * (int(prompt_lengths(chosen).max()) + few.new_tokens)
    return (tokens - begun) * cache_bytes(data.config, final.dtype)
