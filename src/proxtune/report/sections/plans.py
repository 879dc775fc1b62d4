"""The plans that were considered: the chosen one, those that fit, those that were refused and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.formatting import DASH, amount, duration, number, part, rows, shorten, size
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Section

_MOST_PLANS = 60
_PLANS_AT_ONCE = 12


def plans(plan_file: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The rows of the plan table, the chosen one first; without a table the run's own plan."""
    table = [row for row in rows(plan_file, "table") if isinstance(row, dict)]
    if not table and part(result, "plan"):
        table = [{"plan": result["plan"], "status": "chosen"}]
    if not table:
        return None
    rank = {"chosen": 0, "fits": 1, "refused": 2}
    table.sort(key=lambda row: rank.get(str(row.get("status")), 3))
    shown = [_plan_row(row) for row in table[:_MOST_PLANS]]
    counts = {status: sum(row.get("status") == status for row in table) for status in rank}
    return {
        "first": shown[:_PLANS_AT_ONCE],
        "rest": shown[_PLANS_AT_ONCE:],
        "left_out": max(0, len(table) - _MOST_PLANS),
        "counts": f"{counts['fits'] + counts['chosen']} fit, {counts['refused']} refused." if len(table) > 1 else "",
    }


def _plan_row(row: Mapping[str, Any]) -> dict[str, str]:
    plan = part(row, "plan")
    cost = part(plan, "cost")
    expected = number(plan.get("expected"))  # a share of what full fine-tuning reaches, and no accuracy
    peaks = [known for value in part(cost, "memory_bytes").values() if (known := number(value)) is not None]
    return {
        "name": shorten(plan.get("name") or plan.get("method") or DASH, 90),
        "status": shorten(row.get("status", DASH), 20),
        "reason": "" if row.get("status") == "fits" else shorten(row.get("reason") or "", 240),
        "memory": size(max(peaks, default=None)),
        "seconds": duration(cost.get("seconds")),
        "trainable": amount(plan.get("trainable")),
        "expected": f"{expected:.3f}" if expected else DASH,
    }


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    return plans(run.plan, run.result)


SECTION = Section(name="plans", title="Plans", anchor="plans", values=_values)
