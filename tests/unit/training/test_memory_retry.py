"""A step that memory refuses: made again smaller, and each time it is said from what, to what, and why."""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.memory.compute_thread import ComputeThread
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.runtime.clock import Clock
from proxtune.training.memory_retry import (
    NothingSmaller,
    error_line,
    faulty_rows,
    micro_batch_label,
    run_within_limit,
    with_memory_retry,
)
from support.trainings import PLAN

REFUSAL = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 100 bytes.\nmore words")


@pytest.fixture
def training():
    """What a step is made again with."""
    governor = Governor(None, ProcessMeter())
    return SimpleNamespace(
        governor=governor, phases=SimpleNamespace(meter=governor.meter), clock=Clock(time.monotonic())
    )


def halved(plan):
    return plan.with_micro_batch(plan.micro_batch // 2) if plan.micro_batch > 1 else None


def refusing_more_than(rows, error=REFUSAL):
    """A computation that gives its micro-batch back, and is refused with a larger one."""

    def compute(plan):
        if plan.micro_batch > rows:
            raise error
        return plan.micro_batch

    return compute


@given(st.sets(st.integers(0, 40)), st.integers(1, 41))
def test_the_rows_at_fault_are_found_by_halves(bad, count):
    rows = np.arange(count)
    assert faulty_rows(rows, lambda few: not bad & set(few.tolist())) == sorted(bad & set(range(count)))


def test_rows_that_only_fail_together_are_not_named():
    assert faulty_rows(np.arange(4), lambda few: len(few) < 4) == []


def test_what_is_refused_is_made_again_smaller_until_it_fits(training):
    plan, found, changes = with_memory_retry(PLAN, training, 3, refusing_more_than(2), halved)
    assert plan.micro_batch == found == 2
    assert [(down.before, down.after, down.at_step) for down in changes] == [
        ("micro-batch 8", "micro-batch 4", 3), ("micro-batch 4", "micro-batch 2", 3),
    ]  # fmt: skip
    assert {down.why for down in changes} == {str(REFUSAL).splitlines()[0]}
    assert training.governor.step_downs == changes


def test_where_nothing_smaller_is_left_it_is_a_memory_error(training):
    with pytest.raises(MemoryError, match="one row does not fit") as caught:
        with_memory_retry(PLAN, training, 0, refusing_more_than(0), halved)
    assert isinstance(caught.value, NothingSmaller)
    assert caught.value.plan.micro_batch == 1
    assert caught.value.step_downs == training.governor.step_downs
    assert len(caught.value.step_downs) == 3


def test_an_error_that_is_no_refusal_is_not_taken_for_one(training):
    with pytest.raises(RuntimeError, match="shapes"):
        with_memory_retry(PLAN, training, 0, refusing_more_than(0, RuntimeError("shapes do not agree")), halved)
    assert training.governor.step_downs == []


def test_close_to_the_budget_the_step_is_smaller_before_anything_is_refused(training, monkeypatch):
    monkeypatch.setattr(training.governor, "is_crowded", lambda: True)
    plan, found, (change,) = with_memory_retry(PLAN, training, 0, refusing_more_than(8), halved)
    assert plan.micro_batch == found == 4
    assert change.why == "close to the budget"
    plan, _, changes = with_memory_retry(replace(PLAN, micro_batch=1), training, 0, refusing_more_than(8), halved)
    assert (plan.micro_batch, changes) == (1, [])


class Renewing:
    """A governor whose limit can be set anew so many times."""

    def __init__(self, times: int) -> None:
        self.thread, self.left = ComputeThread(), times

    def renew(self) -> bool:
        self.left -= 1
        return self.left >= 0


def test_where_only_address_space_ran_out_the_same_is_computed_again():
    tries, undone = [], []

    def compute():
        tries.append(1)
        if len(tries) < 3:
            raise REFUSAL
        return "done"

    # one renewal before the first try, one after each refusal
    assert run_within_limit(compute, Renewing(3), lambda: undone.append(1)) == "done"
    assert (len(tries), len(undone)) == (3, 2)


def test_what_memory_itself_refuses_is_raised_and_undone():
    undone = []
    with pytest.raises(RuntimeError, match="can't allocate"):
        run_within_limit(lambda: refusing_more_than(0)(PLAN), Renewing(1), lambda: undone.append(1))
    assert undone == [1]


def test_words_are_short_and_never_empty():
    assert error_line(REFUSAL).endswith("100 bytes.")
    assert error_line(MemoryError()) == "MemoryError"
    assert len(error_line(RuntimeError("x" * 1000))) == 120
    assert micro_batch_label(PLAN) == "micro-batch 8"
    tight = replace(PLAN, micro_batch=1, checkpointing=True, allocator="tight")
    assert micro_batch_label(tight) == "micro-batch 1 with checkpointing with the tight allocator"
