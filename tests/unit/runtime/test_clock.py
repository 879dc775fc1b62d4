"""The clock: one start for all processes of a run."""

import time

from proxtune.runtime.clock import Clock


def test_without_a_limit_time_is_endless():
    assert Clock(time.monotonic()).left == float("inf")


def test_what_is_left_is_the_limit_less_what_went(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 130.0)
    clock = Clock(100.0, 40.0)
    assert (clock.elapsed, clock.left) == (30.0, 10.0)


def test_a_limit_that_is_passed_is_negative(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 150.0)
    assert Clock(100.0, 40.0).left == -10.0
