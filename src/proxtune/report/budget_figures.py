"""What a run was promised, what was measured and what was allowed; for the page, its notes and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxtune.report.formatting import amount, duration, error_percent, number, operations, part, size


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLine:
    """One thing that a budget can limit, in words; `over` and `within` are both False where nothing was limited or measured."""

    name: str
    promised: str
    measured: str
    error: str
    limit: str
    over: bool
    within: bool


def promised_memory(result: Mapping[str, Any]) -> dict[str, Any]:
    """Predicted bytes by phase."""
    # A run cut short may hold no `predicted` of its own; its plan still does.
    return part(part(result, "predicted"), "memory_bytes") or part(part(part(result, "plan"), "cost"), "memory_bytes")


def measured_memory(result: Mapping[str, Any]) -> dict[str, Any]:
    """Measured bytes by phase, and of the process that scored the baselines: the budget is for the whole run."""
    measured = part(result, "measured")
    baselines = number(measured.get("baselines_bytes"))
    return part(measured, "memory_bytes") | ({} if baselines is None else {"baselines": baselines})


def peak_of(by_phase: Mapping[str, Any]) -> float | None:
    """The largest phase, if any is known."""
    return max((known for value in by_phase.values() if (known := number(value)) is not None), default=None)


def budget_lines(result: Mapping[str, Any]) -> list[BudgetLine]:
    """One line for each thing that a budget can limit and that is known of the run."""
    budget, plan, measured = (part(result, key) for key in ("budget", "plan", "measured"))
    table = [
        ("peak memory", peak_of(promised_memory(result)), peak_of(measured_memory(result)), budget.get("memory"), size),
        ("time", _promised(result, "seconds"), measured.get("seconds"), budget.get("time"), duration),
        ("compute", _promised(result, "flops"), measured.get("flops"), budget.get("compute"), operations),
        ("model size", None, result.get("artifact_bytes"), budget.get("size"), size),
        ("trainable parameters", None, plan.get("trainable"), budget.get("trainable"), amount),
    ]
    return [
        BudgetLine(
            name=name,
            promised=words(expected),
            measured=words(seen),
            error=error_percent(expected, seen),
            limit=words(limit),
            over=_is_over(seen, limit),
            within=number(limit) is not None and number(seen) is not None and not _is_over(seen, limit),
        )
        for name, expected, seen, limit, words in table
        if any(number(value) is not None for value in (expected, seen, limit))
    ]


def _is_over(seen: Any, limit: Any) -> bool:
    return number(limit) is not None and (number(seen) or 0) > (number(limit) or 0)


def _promised(result: Mapping[str, Any], key: str) -> Any:
    return part(result, "predicted").get(key, part(part(result, "plan"), "cost").get(key))
