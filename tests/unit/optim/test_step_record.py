"""Records of steps: a few bytes that come back as they were, and are told where they are torn or damaged."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.optim.step_record import MOVING, RULES, StepRecord, as_float32, unpack

kept = st.floats(width=32, allow_nan=False, allow_infinity=False)
records = st.builds(
    StepRecord, step=st.integers(0, 2**32 - 1), seed=st.integers(0, 2**64 - 1), batch=st.integers(0, 2**64 - 1), spread=kept,
    rate=kept, rule=st.sampled_from(RULES), centre=kept, losses=st.lists(kept, min_size=2, max_size=40).map(tuple),
)  # fmt: skip


@settings(max_examples=100)
@given(st.lists(records, max_size=4))
def test_records_come_back_as_they_were(given_records):
    written = b"".join(record.pack() for record in given_records)
    assert list(unpack(written)) == given_records
    assert len(written) == sum(40 + 4 * len(record.losses) for record in given_records)


@settings(max_examples=100)
@given(records, st.data())
def test_a_torn_or_damaged_record_is_told_with_its_place(record, data):
    written = record.pack()
    with pytest.raises(ValueError, match="byte 0 is torn"):
        list(unpack(written[: data.draw(st.integers(1, len(written) - 1))]))
    place = data.draw(st.integers(0, len(written) - 1))
    spoiled = bytearray(written)
    spoiled[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"is (torn|damaged)"):
        list(unpack(bytes(spoiled)))


def test_the_place_of_a_damaged_record_is_that_where_it_begins():
    good = StepRecord(0, 0, 0, 0.5, 0.25, "stayed", 1.0, (1.0, 2.0)).pack()
    read = unpack(good + good[:-1] + b"?")
    assert next(read).step == 0
    with pytest.raises(ValueError, match=f"byte {len(good)} is damaged"):
        next(read)


@given(st.lists(st.floats(allow_nan=False), max_size=5))
def test_numbers_are_kept_as_a_replay_will_read_them(numbers):
    assert as_float32(numbers) == torch.tensor(numbers, dtype=torch.float64).float().tolist()
    assert all(math.isfinite(number) for number in as_float32([0.1, -3e38]))


def test_the_rules_that_move_are_rules():
    assert set(MOVING) < set(RULES)
    assert len(RULES) < 2**16
