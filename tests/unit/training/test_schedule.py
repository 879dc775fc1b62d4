"""The schedule of the learning rate, and how many steps fit the time."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.checkpoint.state import TrainingState
from proxtune.storage.events import ScheduleChange
from proxtune.training.schedule import reschedule, schedule
from support.trainings import PLAN, NoCheckpoints


@given(st.integers(1, 2000), st.data())
def test_the_learning_rate_stays_between_nothing_and_all(steps, data):
    step = data.draw(st.integers(0, steps - 1))
    assert 0 < schedule(step, steps, 0.06) <= 1
    assert schedule(steps, steps, 0.06) == 0


@given(st.integers(40, 2000))
def test_the_learning_rate_rises_then_falls(steps):
    shares = [schedule(step, steps, 0.06) for step in range(steps + 1)]
    top = shares.index(max(shares))
    assert top <= 0.1 * steps
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)


def test_until_one_was_made_a_validation_is_taken_to_last_as_long_as_the_planner_says():
    clock = SimpleNamespace(limit_seconds=100.0, left=50.0, elapsed=50.0)
    training = SimpleNamespace(
        clock=clock, ending_seconds=5.0, size_phase_seconds=0.0, evaluations=2, final_validations=1.0, validation_steps=20.0,
        max_steps=1000, checkpointer=NoCheckpoints(),
    )  # fmt: skip

    def steps(validation_seconds: float, foreseen_seconds: float = 0.0) -> int:
        state = TrainingState(PLAN, 100, step=40, validation_seconds=validation_seconds)
        training.validation_seconds = foreseen_seconds
        list(reschedule(state, [1.0] * 40, training))
        return state.steps

    assert steps(0.0) == steps(20.0) == 43, "two more evaluations of 20 steps each"
    assert steps(5.0) == steps(0.0, 5.0) == steps(5.0, 20.0) > 70
    training.final_validations = 3.0  # of more rows, or in another dtype
    assert 43 < steps(5.0) < 70


def test_one_slow_first_step_does_not_end_a_training():
    """The first step took 50 times as long as planned, in a run whose fitted layer had taken half of the time."""
    clock = SimpleNamespace(limit_seconds=400.0, left=190.0, elapsed=210.0)
    training = SimpleNamespace(
        clock=clock, ending_seconds=20.0, size_phase_seconds=0.0, evaluations=4, final_validations=1.0, validation_steps=40.0,
        max_steps=1000, validation_seconds=0.0, checkpointer=NoCheckpoints(),
    )  # fmt: skip
    state = TrainingState(PLAN, 800, step=1)
    seconds = [5.7]
    list(reschedule(state, seconds, training))
    assert state.steps == 800
    for state.step in range(2, 40):
        seconds.append(0.1)
        clock.left -= 0.1
        list(reschedule(state, seconds, training))
        assert state.steps > state.step
    assert state.steps > 400, "the slow one is forgotten by and by"

    clock.left = 30.0  # no time for three more like it, nor for an evaluation
    state = TrainingState(PLAN, 800, step=1)
    list(reschedule(state, [5.7], training))
    assert state.steps == 1


@pytest.mark.parametrize(("step", "left", "after"), [(95, 60.0, 153), (95, 20.0, 100), (60, 60.0, 117)])
def test_near_its_end_a_schedule_is_lengthened_only_by_much(step, left, after):
    """A machine that was busy while the run was planned and is so no more: a third of the time would be left over."""
    clock = SimpleNamespace(limit_seconds=200.0, left=left, elapsed=200.0 - left)
    training = SimpleNamespace(
        clock=clock, ending_seconds=0.0, size_phase_seconds=0.0, evaluations=1, final_validations=1.0, validation_steps=0.0,
        max_steps=1000, validation_seconds=0.0, checkpointer=NoCheckpoints(),
    )  # fmt: skip
    state = TrainingState(PLAN, 100, step=step)
    while state.steps == 100 and state.step < 100:
        list(reschedule(state, [1.0] * 50, training))
        state.step += 1
    assert state.steps == after


def test_what_the_clock_said_before_a_resume_is_not_decided_again():
    class Known(NoCheckpoints):
        def past_schedule(self, state):
            return 80

        def record_event(self, event):
            raise AssertionError("it is in the journal already")

    state = TrainingState(PLAN, 100, step=40)
    clock = SimpleNamespace(limit_seconds=None, left=float("inf"), elapsed=50.0)
    (change,) = reschedule(state, [], SimpleNamespace(clock=clock, checkpointer=Known()))
    assert change == ScheduleChange(step=40, seconds=50.0, before=100, after=80)
    assert state.steps == 80


def test_without_a_limit_there_are_as_many_steps_as_were_planned():
    clock = SimpleNamespace(limit_seconds=None, left=float("inf"), elapsed=50.0)
    state = TrainingState(PLAN, 100, step=40)
    assert list(reschedule(state, [1.0] * 40, SimpleNamespace(clock=clock, checkpointer=NoCheckpoints()))) == []
