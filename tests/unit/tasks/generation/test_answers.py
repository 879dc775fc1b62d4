"""Several answers in one cell."""

from __future__ import annotations

import pytest

from proxtune.tasks.generation.answers import several_answers


@pytest.mark.parametrize(
    ("cell", "answers"),
    [
        (["a", "b", "a"], ["a", "b"]),
        ({"text": ["a"], "answer_start": [1]}, ["a"]),
        ({"text": []}, None),
        ([], None),
        (["a", " "], None),
        (["a", 1], None),
        ("a", None),
        (None, None),
        ({"text": "a"}, None),
    ],
)
def test_each_text_once_or_nothing(cell: object, answers: list[str] | None) -> None:
    assert several_answers(cell) == answers
