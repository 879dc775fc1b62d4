"""The most confident mistakes, to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.formatting import DASH, number, percent, rows, shorten
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Section

_MOST_MISTAKES = 20


def mistakes(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """The wrong predictions, the most confident first."""
    found = [row for row in rows(result, "mistakes") if isinstance(row, dict)]
    found.sort(key=lambda row: -(number(row.get("confidence")) or 0.0))
    return [
        {
            "text": shorten(row.get("text", ""), 420),
            "label": shorten(row.get("label", DASH), 40),
            "predicted": shorten(row.get("predicted", DASH), 40),
            "confidence": percent(row.get("confidence")),
            "line": DASH if number(row.get("line")) is None else str(row["line"]),
        }
        for row in found[:_MOST_MISTAKES]
    ]


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    found = mistakes(run.result)
    return {"mistakes": found} if found else None


SECTION = Section(name="mistakes", title="Most confident mistakes", anchor="mistakes", values=_values)
