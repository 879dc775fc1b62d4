"""The untouched model is asked as many rows as the time allows, and so is the model that has learned."""

import time
from types import SimpleNamespace

import pytest

import proxtune.pipeline.base_model
from proxtune.runtime.clock import Clock
from proxtune.tasks.generation.samples import VALIDATION_ANSWERS, base_answer_count, save_base_answers


@pytest.mark.parametrize(
    ("left", "each", "count"),
    [
        (None, 9.0, VALIDATION_ANSWERS),
        (1000.0, 0.5, VALIDATION_ANSWERS),
        (240.0, 2.0, 10),  # 20 seconds of 240
        (160.0, 100.0, 4),
    ],
)
def test_rows_are_answered_in_a_twelfth_of_the_time_that_is_left(monkeypatch, left, each, count):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def answers(session, plan, model, dtype, rows):
        now[0] += each * rows
        return ["an answer"] * rows

    monkeypatch.setattr(proxtune.pipeline.base_model, "validation_answers", answers)
    clock = Clock(now[0], left)
    session = SimpleNamespace(clock=clock)
    before = now[0]
    found = proxtune.pipeline.base_model._affordable_answers(session, None, None, "bf16")
    assert found == count
    assert now[0] - before == (0 if left is None else 4 * each)


def test_as_many_are_asked_afterwards(tmp_path):
    assert base_answer_count(tmp_path) == VALIDATION_ANSWERS
    save_base_answers(tmp_path, {"answers": ["one", "other"], "metrics": {}, "seconds": 1.0})
    assert base_answer_count(tmp_path) == 2
