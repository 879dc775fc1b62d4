"""Numbers in words; what is missing becomes a dash."""

import math

import pytest

from proxtune.report.formatting import (
    DASH,
    amount,
    duration,
    error_percent,
    number,
    operations,
    part,
    percent,
    rows,
    shorten,
    size,
)

ODD = [None, "7", True, math.nan, math.inf, [], {}]


@pytest.mark.parametrize("value", ODD)
def test_what_is_no_finite_number_becomes_a_dash(value):
    assert number(value) is None
    for words in (percent, amount, size, duration, operations):
        assert words(value) == DASH
    assert error_percent(value, 5) == error_percent(5, value) == DASH


def test_numbers_are_rounded_for_a_reader():
    assert percent(0.86123) == "86.1 %"
    assert (amount(12345), amount(0.35)) == ("12,345", "0.35")
    assert (operations(1.2e15), operations(5)) == ("1.2 PFLOP", "5 FLOP")
    assert (size(643_000_000), duration(455)) == ("643 MB", "7 min 35 s")


def test_an_error_is_a_share_of_what_was_measured():
    assert (error_percent(110, 100), error_percent(90, 100), error_percent(100, 100)) == ("+10.0 %", "−10.0 %", "0.0 %")
    assert error_percent(99.99, 100) == "0.0 %"
    assert error_percent(5, 0) == DASH


def test_parts_of_odd_values_are_empty():
    for odd in (None, 3, "text", [1]):
        assert part(odd, "key") == part({"key": odd}, "key") == {}
        assert rows(odd, "key") == []
    assert part({"key": {"a": 1}}, "key") == {"a": 1}
    assert rows({"key": [1]}, "key") == [1]


def test_a_long_text_is_cut_to_its_length_in_one_line():
    assert shorten("one\ntwo  three", 40) == "one two three"
    assert shorten("one two three", 8) == "one two…"
