"""Where the time of a run went."""

import math

from hypothesis import given
from hypothesis import strategies as st

from proxtune.storage.timeline import seconds_by_phase


def begun(*phases):
    return [{"kind": "phase", "phase": name, "seconds": at} for name, at in phases]


def test_a_phase_that_comes_twice_is_added_up():
    found = seconds_by_phase(begun(("read", 0.5), ("train", 2.0), ("evaluate", 5.0), ("train", 6.0)), 10.0)
    assert found == {"read": 2.0, "train": 7.0, "evaluate": 1.0}


def test_other_events_and_damaged_ones_do_not_matter():
    records = [
        {"kind": "step", "seconds": 3},
        {"kind": "phase", "phase": "plan"},
        *begun(("train", math.nan), ("save", 4)),
    ]
    assert seconds_by_phase(records, 5) == {"save": 5}
    assert seconds_by_phase([], 5) == {}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1e4)), min_size=1))
def test_in_order_the_phases_make_up_the_whole(phases):
    phases.sort(key=lambda phase: phase[1])
    assert abs(sum(seconds_by_phase(begun(*phases), 1e4).values()) - 1e4) < 0.05
