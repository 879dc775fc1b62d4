"""Step-downs: when the governor made the work smaller, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.formatting import DASH, amount, duration, rows, shorten
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Section


def step_downs(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Each step-down in words."""
    return [
        {
            "step": amount(row.get("at_step")),
            "when": duration(row.get("seconds")),
            "before": shorten(row.get("from", DASH), 80),
            "after": shorten(row.get("to", DASH), 80),
            "why": shorten(row.get("why", ""), 200),
        }
        for row in rows(result, "step_downs")
        if isinstance(row, dict)
    ]


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    return {"step_downs": step_downs(run.result)}  # that there was none is worth a line


SECTION = Section(name="step_downs", title="Step-downs", anchor="step-downs", values=_values)
