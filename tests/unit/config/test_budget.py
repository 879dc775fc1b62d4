import pickle
from contextlib import suppress
from copy import deepcopy
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune import Budget, UserError
from proxtune.config.budget import format_bytes, format_seconds, parse_bytes, parse_count, parse_flop, parse_seconds

BYTES = {"": 1, "B": 1}
BYTES |= {f"{letter}B": 1000**power for power, letter in enumerate("kMGT", start=1)}
BYTES |= {f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", start=1)}
SECONDS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hour": 3600, "d": 86400}
COUNTS = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9, "G": 10**9}
FLOP = {"": 1, "FLOP": 1, "MFLOP": 1e6, "GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15, "EFLOP": 1e18}
FAMILIES = [(parse_bytes, BYTES), (parse_seconds, SECONDS), (parse_count, COUNTS), (parse_flop, FLOP)]
EVERY_UNIT = [(parse, unit, size) for parse, units in FAMILIES for unit, size in units.items()]


@pytest.mark.parametrize(("parse", "unit", "size"), EVERY_UNIT)
def test_every_unit_in_any_case_and_spacing(parse, unit, size) -> None:
    for text in (f"3{unit}", f"3 {unit}", f" 3{unit.lower()} ", f"3{unit.upper()}", f"+3.0{unit}"):
        assert parse(text) == pytest.approx(3 * size)


def test_milliseconds() -> None:
    assert parse_seconds("250ms") == 0.25


def test_ten_is_not_two_to_the_ten() -> None:
    assert parse_bytes("1GB") == 10**9
    assert parse_bytes("1GiB") == 2**30


@given(st.integers(1, 10**6), st.sampled_from(EVERY_UNIT))
def test_whole_amounts_are_exact(number: int, case) -> None:
    parse, unit, size = case
    assert parse(f"{number}{unit}") == float(number) * size


@given(st.floats(1e-3, 1e9), st.sampled_from([case for case in EVERY_UNIT if case[2] >= 1000]))
def test_fractions_and_exponents(number: float, case) -> None:
    parse, unit, size = case
    assert parse(f"{number!r}{unit}") == pytest.approx(number * size, rel=1e-9, abs=0.51)


@given(st.text(max_size=12))
def test_no_text_does_worse_than_a_person_error(text: str) -> None:
    for parse, _ in FAMILIES:
        # An unforeseen exception would get through and fail the test.
        with suppress(UserError):
            assert 0 < parse(text) < float("inf")


@pytest.mark.parametrize(
    ("parse", "option", "example"),
    [
        (parse_bytes, "memory", "700MB"),
        (parse_seconds, "time", "10min"),
        (parse_count, "trainable", "1M"),
        (parse_flop, "compute", "2PFLOP"),
    ],
)
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0", "must be more than zero"),
        ("-1", "must be more than zero"),
        ("-0.0", "must be more than zero"),
        ("3 parsecs", "unknown unit 'parsecs'"),
        ("1e999", "too large"),
        ("much", "not an amount"),
        ("", "not an amount"),
        ("nan", "not an amount"),
        ("inf", "not an amount"),
        ("1,5", "not an amount"),
        ("1 2", "not an amount"),
    ],
)
def test_what_is_refused_and_how_it_is_said(parse, option: str, example: str, text: str, why: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith(f"--{option} {text!r}")
    assert why in message
    assert example in message


def test_the_option_is_named_in_the_message() -> None:
    with pytest.raises(UserError, match="--size '0MB'"):
        Budget(size="0MB")


def test_an_unknown_unit_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"units: B, KB, KIB, MB, MIB, GB, GIB, TB, TIB"):
        Budget(memory="1 gigabyte")


def test_parts_as_text_and_as_numbers() -> None:
    text = Budget(memory="1GB", size="10MB", trainable="1M", time="10min", compute="2PFLOP")
    assert text == Budget(memory=10**9, size=10**7, trainable=10**6, time=600.0, compute=2e15)
    assert Budget("1GB") == Budget(memory=10**9)


def test_a_part_not_given_does_not_bind() -> None:
    assert Budget().as_dict() == {"memory": None, "size": None, "trainable": None, "time": None, "compute": None}


def test_less_than_one_byte_is_one() -> None:
    assert parse_bytes("0.2") == 1


def test_a_budget_is_a_value() -> None:
    budget = Budget(memory="1GB", time="10min")
    assert pickle.loads(pickle.dumps(budget)) == deepcopy(budget) == budget
    assert hash(Budget(memory=10**9, time=600)) == hash(budget)
    assert replace(budget, time="1h") == Budget(memory="1GB", time=3600)
    with pytest.raises(FrozenInstanceError):
        budget.memory = 1


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (700_000_000, "700 MB"),
        (1_500_000_000, "1.50 GB"),
        (24_000_000_000, "24 GB"),
        (-3_000_000, "-3 MB"),
    ],
)
def test_bytes_in_words(count: int, words: str) -> None:
    assert format_bytes(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (2.34, "2.3 s"),
        (42, "42 s"),
        (60, "1 min"),
        (495, "8 min 15 s"),
        (3600, "1 h 0 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert format_seconds(seconds) == words


@given(st.integers(1, 10**13))
def test_bytes_in_words_can_be_read_back(count: int) -> None:
    assert parse_bytes(format_bytes(count)) == pytest.approx(count, rel=0.5)
