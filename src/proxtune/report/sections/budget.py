"""The budget in the report: promised, measured and allowed, for the whole run and phase by phase."""

from __future__ import annotations

from typing import Any

from proxtune.config.plan import PHASES
from proxtune.report.formatting import amount, duration, error_percent, number, operations, part, shorten, size


def promised_memory(result: dict[str, Any]) -> dict[str, Any]:
    """Predicted bytes by phase."""
    # A run cut short may hold no `predicted` of its own; its plan still does.
    return part(part(result, "predicted"), "memory_bytes") or part(part(part(result, "plan"), "cost"), "memory_bytes")


def measured_memory(result: dict[str, Any]) -> dict[str, Any]:
    """Measured bytes by phase, and of the process that scored the baselines: the budget is for the whole run."""
    measured = part(result, "measured")
    baselines = number(measured.get("baselines_bytes"))
    return part(measured, "memory_bytes") | ({} if baselines is None else {"baselines": baselines})


def _promised_seconds(result: dict[str, Any]) -> Any:
    return part(result, "predicted").get("seconds", part(part(result, "plan"), "cost").get("seconds"))


def peak_of(by_phase: dict[str, Any]) -> float | None:
    """The largest phase, if any is known."""
    return max((known for value in by_phase.values() if (known := number(value)) is not None), default=None)


def phase_bars(result: dict[str, Any]) -> dict[str, Any] | None:
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


def budget_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each thing a budget can hold: promised, measured, limit, and whether it held."""
    budget, plan, measured = (part(result, key) for key in ("budget", "plan", "measured"))
    used = peak_of(measured_memory(result))
    flops, saved = measured.get("flops"), result.get("artifact_bytes")
    table = [
        ("peak memory", peak_of(promised_memory(result)), used, budget.get("memory"), size),
        ("time", _promised_seconds(result), measured.get("seconds"), budget.get("time"), duration),
        (
            "compute",
            part(result, "predicted").get("flops", part(plan, "cost").get("flops")),
            flops,
            budget.get("compute"),
            operations,
        ),
        ("model size", None, saved, budget.get("size"), size),
        ("trainable parameters", None, plan.get("trainable"), budget.get("trainable"), amount),
    ]
    return [
        {
            "name": name,
            "promised": words(expected),
            "measured": words(seen),
            "error": error_percent(expected, seen),
            "limit": words(limit),
            "over": number(limit) is not None and (number(seen) or 0) > (number(limit) or 0),
            "held": number(limit) is not None and number(seen) is not None,
        }
        for name, expected, seen, limit, words in table
        if any(number(value) is not None for value in (expected, seen, limit))
    ]
