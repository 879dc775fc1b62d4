"""Answers to validation rows: as many as the time allows, and what the largest piece of them takes."""

from __future__ import annotations

import math
import time
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
_FEW_ANSWERS = 4  # rows that are answered to see how long one takes
_ANSWERS_SHARE = 1 / 24  # of the time that is left, for answers before training, and as much after it
_LONGER_THAN_WANTED = (
    1.25  # an answer may be than the longest that is wanted: a model that has not learned to end babbles on
)
_FEW_TOKENS = 4  # of an answer, in a dry run
_ALL_TOKENS = 1 << 40


def validation_answers(at_hand: ModelAtHand, count: int) -> list[str]:
    """What the model answers to `count` of the validation rows, or all of fewer, in their order."""
    rows = evenly_spaced_rows(len(at_hand.data.validation), count)
    some, tokens = select_rows(at_hand.data.validation, rows), tokens_at_a_time(at_hand.plan)
    settings = _settings(at_hand.data, some)
    found = dict(generate_answers(at_hand.model, some, settings, at_hand.dtype, tokens, at_hand.governor))
    return [found[i] for i in range(len(rows))]


def affordable_answers(base: ModelAtHand, seconds_left: float) -> int:
    """How many rows are answered before training and again after it: by what a few take, each time in a share of what is left."""
    if math.isinf(seconds_left):
        return VALIDATION_ANSWERS
    began = time.monotonic()
    few = validation_answers(base, _FEW_ANSWERS)
    each = (time.monotonic() - began) / len(few)
    return max(len(few), min(VALIDATION_ANSWERS, int(_ANSWERS_SHARE * seconds_left / each)))


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
