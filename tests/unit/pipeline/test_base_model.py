"""The untouched model is asked as many rows as the time allows, and so is the model that has learned."""

import time
from types import SimpleNamespace

import pytest

import proxtune.pipeline.base_model
from proxtune.runtime.clock import Clock
from proxtune.tasks.generation.samples import JUDGED_ANSWERS, asked_before, keep_before


@pytest.mark.parametrize(
    ("left", "each", "count"),
    [
        (None, 9.0, JUDGED_ANSWERS),
        (1000.0, 0.5, JUDGED_ANSWERS),
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

    monkeypatch.setattr(proxtune.pipeline.base_model, "answers_to_judge", answers)
    clock = Clock(now[0], left)
    session = SimpleNamespace(clock=clock)
    before = now[0]
    found = proxtune.pipeline.base_model._affordable(session, None, None, "bf16")
    assert found == count
    assert now[0] - before == (0 if left is None else 4 * each)


def test_as_many_are_asked_afterwards(tmp_path):
    assert asked_before(tmp_path) == JUDGED_ANSWERS
    keep_before(tmp_path, {"answers": ["one", "other"], "metrics": {}, "seconds": 1.0})
    assert asked_before(tmp_path) == 2
