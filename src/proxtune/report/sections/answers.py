"""Answers to read: prompt, reference, and the answer before and after training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.formatting import DASH, number, rows, shorten
from proxtune.report.run_files import RunFiles
from proxtune.report.scores import main_of, score_name, score_words
from proxtune.report.sections.base import Section

_MOST_SHOWN = 20
_FOLDED_FROM = 240  # characters
_MOST_CHARACTERS = 1200


def answer_rows(found: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The rows under `key` of a result or an evaluation, each text with its beginning and, where it is long, the whole."""
    main = main_of(found)
    return [
        {
            "line": DASH if number(row.get("line")) is None else str(row["line"]),
            "score": score_words(main, row.get("score")),
            **{name: _folded(row.get(name)) for name in ("asked", "reference", "before", "after")},
        }
        for row in rows(found, key)[:_MOST_SHOWN]
        if isinstance(row, dict)
    ]


def answer_values(result: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """The values of a template that shows the answers under `key`."""
    found = answer_rows(result, key)
    return {"answers": found, "main": score_name(main_of(result))} if found else None


def _folded(text: Any) -> dict[str, str]:
    """A text whose `begin` is shown and whose `whole` is folded away, where it is long."""
    if text is None:
        return {"begin": DASH, "whole": ""}
    words = str(text).strip()
    if len(words) <= _FOLDED_FROM:
        return {"begin": words or "(nothing)", "whole": ""}
    return {"begin": shorten(words, _FOLDED_FROM), "whole": words[:_MOST_CHARACTERS]}


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    return answer_values(run.result, "samples")


SECTION = Section(name="answers", title="Answers", anchor="answers", values=_values)
