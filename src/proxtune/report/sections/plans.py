"""The report's part on memory terms, plans and step-downs as plain values."""

from __future__ import annotations

from typing import Any

from proxtune.report.formatting import DASH, amount, duration, number, part, percent, rows, shorten, size

MOST_PLANS = 60
PLANS_AT_ONCE = 12
TERMS = {
    "supervisor": "the process that watches the run",
    "libraries": "Python, PyTorch and the rest",
    "weights": "the model itself",
    "gradients": "one number for each trained parameter",
    "optimizer": "what the optimizer remembers",
    "activations": "kept from forward to backward, worst batch",
    "kernels": "scratch room of the matrix kernels",
    "slack": "what the allocator holds but does not use",
    "latent": "weights beside the nearest ones that fit the size",
    "data": "tokenised rows",
}


def terms(result: dict[str, Any]) -> dict[str, Any] | None:
    """What the memory of the phase `train` was predicted to be made of."""
    raw = part(part(result, "predicted"), "terms") or part(part(part(result, "plan"), "cost"), "terms")
    known = {name: value for name, raw_value in raw.items() if (value := number(raw_value)) and value > 0}
    names = [name for name in TERMS if name in known] + sorted(set(known) - set(TERMS))
    total = sum(known.values())
    if not names:
        return None
    return {
        "total": size(total),
        "rows": [
            {
                "name": shorten(name, 30),
                "why": TERMS.get(name, ""),
                "bytes": size(known[name]),
                "share": percent(known[name] / total),
                "width": round(100 * known[name] / total, 3),
                "tint": index % 9,
            }
            for index, name in enumerate(names)
        ],
    }


def plans(plan_file: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The candidates: the chosen one, those that fit, those that were refused and why."""
    table = [row for row in rows(plan_file, "table") if isinstance(row, dict)]
    if not table and part(result, "plan"):
        table = [{"plan": result["plan"], "status": "chosen"}]
    rank = {"chosen": 0, "fits": 1, "refused": 2}
    table.sort(key=lambda row: rank.get(str(row.get("status")), 3))
    shown = [_plan_row(row) for row in table[:MOST_PLANS]]
    counts = {status: sum(row.get("status") == status for row in table) for status in rank}
    return {
        "first": shown[:PLANS_AT_ONCE],
        "rest": shown[PLANS_AT_ONCE:],
        "left_out": max(0, len(table) - MOST_PLANS),
        "counts": f"{counts['fits'] + counts['chosen']} fit, {counts['refused']} refused." if len(table) > 1 else "",
    }


def _plan_row(row: dict[str, Any]) -> dict[str, str]:
    plan = part(row, "plan")
    cost = part(plan, "cost")
    hoped = number(plan.get("expected"))
    peaks = [known for value in part(cost, "memory_bytes").values() if (known := number(value)) is not None]
    return {
        "name": shorten(plan.get("name") or plan.get("method") or DASH, 90),
        "status": shorten(row.get("status", DASH), 20),
        "reason": "" if row.get("status") == "fits" else shorten(row.get("reason") or "", 240),
        "memory": size(max(peaks, default=None)),
        "seconds": duration(cost.get("seconds")),
        "trainable": amount(plan.get("trainable")),
        "expected": DASH if not hoped else percent(hoped) if 0 < hoped <= 1 else amount(hoped),
    }


def step_downs(result: dict[str, Any]) -> list[dict[str, str]]:
    """When the governor made the work smaller, and why."""
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
