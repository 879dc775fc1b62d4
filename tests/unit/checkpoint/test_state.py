"""Progress: it comes back from a snapshot under the keys that it always had, with what a step-down changes of a plan."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.checkpoint.state import TrainingState
from support.trainings import PLAN

whole = st.integers(0, 10**6)
part = st.floats(0, 1e6)


@given(
    st.builds(
        TrainingState, plan=st.just(PLAN), steps=whole, step=whole, validated_step=st.integers(-1, 10**6),
        validation_seconds=part, rate_share=st.floats(0, 1), rollbacks=st.integers(0, 3),
        size_phase_step=st.none() | whole,
    ),
    st.integers(1, 8),
    st.booleans(),
)  # fmt: skip
def test_it_comes_back_from_json(state, micro_batch, checkpointing):
    state.plan = replace(PLAN, micro_batch=micro_batch, checkpointing=checkpointing)
    again = TrainingState.from_dict(PLAN, json.loads(json.dumps(state.as_dict())))
    assert again == state


def test_its_keys_are_those_that_snapshots_always_had():
    assert TrainingState(PLAN, 9, step=4, validated_step=3, rollbacks=1).as_dict() == {
        "micro_batch": 8, "checkpointing": False, "steps": 9, "step": 4, "judged": 3, "judging_seconds": 0.0,
        "rate_share": 1.0, "returns": 1, "held_from": None,
    }  # fmt: skip


def test_what_the_journal_and_the_data_tell_is_not_in_it():
    state = TrainingState(PLAN, 9, rows_seen=80, best=(0.5, -0.7), rejected=2)
    again = TrainingState.from_dict(PLAN, state.as_dict())
    assert (again.rows_seen, again.best, again.rejected) == (0, TrainingState(PLAN, 9).best, 0)


@pytest.mark.parametrize("change", [{"micro_batch": "many"}, {"micro_batch": None}, {"colour": "red"}])
def test_what_no_snapshot_holds_is_an_error(change):
    saved = TrainingState(PLAN, 9).as_dict() | change
    with pytest.raises((ValueError, TypeError)):
        TrainingState.from_dict(PLAN, saved)


def test_what_a_snapshot_lacks_is_an_error():
    saved = TrainingState(PLAN, 9).as_dict()
    del saved["micro_batch"]
    with pytest.raises(KeyError):
        TrainingState.from_dict(PLAN, saved)
