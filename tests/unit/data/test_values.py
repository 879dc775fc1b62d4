"""A cell as a word: what a user would write for it, and text that can be written at all."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.data.values import cell_text, is_blank, is_valid_unicode, kind_of, to_valid_unicode

any_text = st.text(st.characters())  # lone surrogates among them


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("as it is ", "as it is "),
        ("", ""),
        (None, None),
        (math.nan, None),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (1.0, "1"),
        (-3.0, "-3"),
        (0.5, "0.5"),
        (1e300, str(int(1e300))),
        (math.inf, "inf"),
        (Decimal("1.00"), "1"),
        (Decimal("1.50"), "1.5"),
        (Decimal("-1E+3"), "-1000"),
        (Decimal("0.000001"), "0.000001"),
    ],
)
def test_a_single_value_is_written_as_a_user_would(cell: object, text: str | None) -> None:
    assert cell_text(cell) == text


@pytest.mark.parametrize(
    ("cell", "kind"), [(["a"], "a list"), ({"a": 1}, "an object"), (b"a", "bytes"), (1j, "a complex"), ({1}, "a set")]
)
def test_what_is_no_single_value_is_named(cell: object, kind: str) -> None:
    with pytest.raises(TypeError, match=kind):
        cell_text(cell)
    assert kind_of(cell) == kind


def test_every_kind_of_cell_has_its_article() -> None:
    assert [kind_of(cell) for cell in ("a", None, 1, 1.5, True)] == ["a string", "nothing", *["a number"] * 3]


@given(any_text)
def test_half_characters_become_marks_and_all_else_stays(text: str) -> None:
    valid = to_valid_unicode(text)
    assert is_valid_unicode(valid)
    assert valid.encode("utf-8").decode("utf-8") == valid
    if is_valid_unicode(text):
        assert valid == text
    else:
        assert "\ufffd" in valid


def test_two_halves_that_belong_together_are_one_character() -> None:
    assert to_valid_unicode("\ud83d\ude00!") == "😀!"
    assert to_valid_unicode("\ud83d!") == "\ufffd!"


INVISIBLE = "\u200b\ufeff\u2060\u00ad\u200d\u200e\u180e\u3164\u2800\ufe0f\u061c\U000e0041\t \xa0\x07"


@given(st.text(st.sampled_from(INVISIBLE)))
def test_a_text_of_which_nothing_is_seen_is_blank(text: str) -> None:
    assert is_blank(text)
    assert not is_blank(f"{text}.{text}")


@pytest.mark.parametrize("text", ["a", "0", "-", "\u0301", "\u0600", "\ufffd", "❤\ufe0f", "\U0001f469\u200d"])
def test_whatever_is_seen_is_not_blank(text: str) -> None:
    assert not is_blank(text)
