"""Answers to validation rows: as many as the time allows."""

import time

import pytest

from proxtune.tasks.generation import validation_answers
from proxtune.tasks.generation.task import TRANSLATE
from proxtune.tasks.generation.validation_answers import VALIDATION_ANSWERS


@pytest.mark.parametrize(
    ("left", "each", "count"),
    [
        (float("inf"), 9.0, VALIDATION_ANSWERS),
        (1000.0, 0.5, VALIDATION_ANSWERS),
        (240.0, 2.0, 10),  # 20 seconds of 240
        (160.0, 100.0, 4),
    ],
)
def test_the_base_model_answers_in_a_twelfth_of_the_time_that_is_left(monkeypatch, left, each, count):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def answers(at_hand, rows):
        now[0] += each * rows
        return ["an answer"] * rows

    monkeypatch.setattr(validation_answers, "validation_answers", answers)
    found = TRANSLATE.base_results(None, left)
    assert len(found["answers"]) == count
    assert found["seconds"] == each * count
