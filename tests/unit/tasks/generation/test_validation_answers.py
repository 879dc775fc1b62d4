"""Answers to validation rows: as many as the time allows."""

import math
import time
from dataclasses import replace

import pytest

from proxtune.tasks.generation import validation_answers
from proxtune.tasks.generation.task import TRANSLATE
from proxtune.tasks.generation.validation_answers import VALIDATION_ANSWERS


@pytest.mark.parametrize(
    ("left", "each", "count"),
    [
        (float("inf"), 9.0, VALIDATION_ANSWERS),
        (1000.0, 0.5, VALIDATION_ANSWERS),
        (480.0, 2.0, 10),  # 20 seconds of 480
        (160.0, 100.0, 4),
    ],
)
def test_the_base_model_answers_in_a_share_of_the_time_that_is_left(monkeypatch, left, each, count):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def answers(at_hand, rows):
        now[0] += each * rows
        return ["an answer"] * rows

    monkeypatch.setattr(validation_answers, "validation_answers", answers)
    found = TRANSLATE.base_results(None, left)
    assert len(found["answers"]) == count
    assert found["seconds"] == each * count


def test_answers_that_are_judged_end_a_little_after_the_longest_that_is_wanted(tiny_t5, tiny_pairs):
    from proxtune.config.recipe import Recipe
    from proxtune.data.batching import padded

    recipe = Recipe(data=str(tiny_pairs), out="", task="translate", model=str(tiny_t5))
    data = TRANSLATE.encode(recipe, TRANSLATE.read(recipe), tiny_t5)
    longest = int(data.validation.answer_lengths.max())
    settings = validation_answers._settings(replace(data, new_tokens=500), data.validation)
    assert settings.new_tokens == padded(math.ceil(1.25 * longest))
    assert validation_answers._settings(replace(data, new_tokens=3), data.validation).new_tokens == 3
