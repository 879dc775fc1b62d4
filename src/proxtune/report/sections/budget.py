"""The budget: promised, measured and allowed, for the whole run and phase by phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.config.plan import PHASES
from proxtune.report.budget_figures import budget_lines, measured_memory, peak_of, promised_memory
from proxtune.report.formatting import error_percent, number, part, shorten, size
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Section


def phase_bars(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Widths in percent of one scale that all phases share, and where on it the limit stands."""
    promised, measured = promised_memory(result), measured_memory(result)
    limit = number(part(result, "budget").get("memory"))
    names = [p for p in PHASES if p in promised or p in measured]
    names += sorted((set(promised) | set(measured)) - set(names))
    peak = max(peak_of(promised) or 0, peak_of(measured) or 0)
    if not names or peak <= 0:
        return None
    near = limit is not None and limit <= 4 * peak  # a far limit would squeeze the bars into nothing
    scale = 1.06 * max(peak, limit if near and limit else 0)

    def width(value: Any) -> float:
        return round(100 * max(0, number(value) or 0) / scale, 2)

    return {
        "limit": size(limit) if limit else "",
        "at": width(limit) if near else None,
        "rows": [
            {
                "name": shorten(name, 30),
                "promised": size(promised.get(name)),
                "measured": size(measured.get(name)),
                "error": error_percent(promised.get(name), measured.get(name)),
                "promised_width": width(promised.get(name)),
                "measured_width": width(measured.get(name)),
                "over": limit is not None and (number(measured.get(name)) or 0) > limit,
            }
            for name in names
        ],
    }


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    lines = budget_lines(run.result)
    return {"lines": lines, "phases": phase_bars(run.result)} if lines else None


SECTION = Section(name="budget", title="Budget", anchor="budget", values=_values)
