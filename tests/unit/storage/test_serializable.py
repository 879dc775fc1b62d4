"""Frozen values through JSON: renamed keys, fields left out, a mapping beside the others, values in values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.storage.serializable import Serializable


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Serializable):
    """With keys of other names, and a field that may be left out."""

    _KEYS: ClassVar[Mapping[str, str]] = {"before": "from", "after": "to"}
    _OPTIONAL: ClassVar[frozenset[str]] = frozenset({"why"})
    before: int
    after: int
    why: str | None = None
    rows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores(Serializable):
    """With a mapping whose entries stand beside the other keys."""

    _SPREAD: ClassVar[str | None] = "metrics"
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer(Serializable):
    """With other values in it."""

    place: Path
    last: Change | None
    all: tuple[Change, ...]


changes = st.builds(
    Change,
    before=st.integers(),
    after=st.integers(),
    why=st.none() | st.text(),
    rows=st.lists(st.text(), max_size=3).map(tuple),
)


def through_json(value: Serializable) -> Any:
    return type(value).from_dict(json.loads(json.dumps(value.as_dict())))


@given(changes)
def test_a_value_comes_back_from_json(change: Change) -> None:
    assert through_json(change) == change


@given(st.integers(), st.dictionaries(st.text().filter(lambda name: name != "step"), st.floats(allow_nan=False)))
def test_a_mapping_comes_back_from_beside_the_other_keys(step: int, metrics: dict[str, float]) -> None:
    scores = Scores(step=step, metrics=metrics)
    assert scores.as_dict() == {"step": step} | metrics
    assert through_json(scores) == scores


def test_keys_are_those_of_the_format_and_an_optional_none_is_left_out() -> None:
    assert Change(before=8, after=4).as_dict() == {"from": 8, "to": 4, "rows": []}
    assert Change(before=8, after=4, why="memory", rows=("a",)).as_dict() == {
        "from": 8,
        "to": 4,
        "why": "memory",
        "rows": ["a"],
    }


def test_values_in_values_become_plain_and_a_none_that_is_not_optional_stays() -> None:
    change = Change(before=1, after=2)
    outer = Outer(place=Path("a") / "b", last=None, all=(change, change))
    assert outer.as_dict() == {"place": str(Path("a/b")), "last": None, "all": [change.as_dict()] * 2}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"from": 1}, "after"),
        ({"from": 1, "to": 2, "surprise": 3}, "Change has no surprise"),
        ({"before": 1, "to": 2}, "before"),
    ],
)
def test_a_missing_or_an_unknown_key_is_refused(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Change.from_dict(raw)
