"""The budget: promised, measured and allowed, for the whole run and phase by phase; and where its time went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.config.plan import PHASES
from proxtune.report.budget_figures import budget_lines, measured_memory, peak_of, promised_memory
from proxtune.report.formatting import duration, error_percent, number, part, percent, shorten, size
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Section
from proxtune.storage.timeline import seconds_by_phase

_PHASE_WORDS = {
    "read": "reading the data", "plan": "planning", "race": "the race", "untouched": "scoring the base model",
    "train": "training", "evaluate": "evaluating", "save": "saving",
}  # fmt: skip
# by the names that the memory chart gives to phases
_TINTS = {
    "read": "load", "plan": "prepare", "race": "prepare", "untouched": "evaluate", "train": "train",
    "evaluate": "evaluate", "save": "save",
}  # fmt: skip


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


def time_bar(run: RunFiles) -> list[dict[str, str]]:
    """The phases in the order in which they began: words, seconds, share of the whole time; empty where nothing tells."""
    whole = number(part(run.result, "measured").get("seconds")) or 0.0
    by_phase = seconds_by_phase(run.records, whole)
    if not whole or not by_phase:
        return []
    return [
        {
            "name": _PHASE_WORDS.get(phase, shorten(phase, 30)),
            "tint": _TINTS.get(phase, "afterwards"),
            "seconds": duration(seconds),
            "share": percent(seconds / whole),
            "width": f"{100 * seconds / whole:.2f}",
        }
        for phase, seconds in by_phase.items()
    ]


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    lines = budget_lines(run.result)
    return {"lines": lines, "phases": phase_bars(run.result), "time": time_bar(run)} if lines else None


SECTION = Section(name="budget", title="Budget", anchor="budget", values=_values)
