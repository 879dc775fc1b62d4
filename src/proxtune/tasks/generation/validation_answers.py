"""Answers to validation rows: as many as the time allows, and what the largest piece of them takes."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from proxtune.data.dataset import select_rows
from proxtune.tasks.base import ModelAtHand
from proxtune.tasks.generation.dataset import own_data, settings_of
from proxtune.tasks.generation.decoding import (
    cache_bytes,
    generate_answers,
    largest_piece,
    prompt_lengths,
    tokens_at_a_time,
)
from proxtune.tasks.generation.scoring.samples import evenly_spaced_rows

VALIDATION_ANSWERS = 64  # rows that answers are generated for, at most: each takes a pass for every token
_FEW_ANSWERS = 4  # rows that are answered to see how long one takes
_ANSWERS_SHARE = 1 / 12  # of the time that is left, for answers before training, and as much after it
_FEW_TOKENS = 4  # of an answer, in a dry run
_ALL_TOKENS = 1 << 40


def validation_answers(at_hand: ModelAtHand, count: int) -> list[str]:
    """What the model answers to `count` of the validation rows, or all of fewer, in their order."""
    rows = evenly_spaced_rows(len(at_hand.data.validation), count)
    some, tokens = select_rows(at_hand.data.validation, rows), tokens_at_a_time(at_hand.plan)
    settings = settings_of(at_hand.data)
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


def try_largest_piece(final: ModelAtHand) -> int:
    """Begin the answers of the largest piece; returns the bytes that its cache would still grow by."""
    data, settings = own_data(final.data), settings_of(final.data)
    rows = evenly_spaced_rows(len(data.validation), VALIDATION_ANSWERS)
    judged = select_rows(data.validation, rows)
    largest, tokens = largest_piece(final.model, judged, settings, tokens_at_a_time(final.plan))
    few = replace(settings, new_tokens=min(settings.new_tokens, _FEW_TOKENS))
    chosen = select_rows(judged, largest)
    list(generate_answers(final.model, chosen, few, final.dtype, _ALL_TOKENS, final.governor))
    begun = len(largest) * (int(prompt_lengths(chosen).max()) + few.new_tokens)
    return (tokens - begun) * cache_bytes(data.config, final.dtype)
