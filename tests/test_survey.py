"""The survey: how fast the machine is."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

import proxtune.survey
from proxtune.tasks.classify import Encoded


@pytest.mark.parametrize(("seconds", "passes"), [([0.2, 0.1, 0.4], 3), ([0.9, 0.5, 0.1], 2), ([2.0, 0.1, 0.4], 1)])
def test_of_a_few_passes_the_fastest_is_believed_and_slow_ones_are_not_many(monkeypatch, seconds, passes):
    now, took = [100.0], [0.05, *seconds]  # the first warms up
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    made = []

    def said_of(*given):
        made.append(took[len(made)])
        now[0] += made[-1]

    monkeypatch.setattr(proxtune.survey, "said_of", said_of)
    data = Encoded(np.arange(64, dtype=np.int32), np.arange(9, dtype=np.int64) * 8, np.zeros(8, dtype=int), 0)
    found = proxtune.survey.pulse(SimpleNamespace(), data, {"fp32": "fp32"}, 10.0, 0, None, 8)
    measured = made[1:]
    assert found["fp32"] == pytest.approx(10.0 * 64 / min(measured))
    assert len(measured) == passes
