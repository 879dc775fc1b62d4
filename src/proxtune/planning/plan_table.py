"""The chosen plan, what it promises, and every other candidate's fate."""

from __future__ import annotations

from typing import Any

from proxtune.config.plan import Infeasible, Plan, plan_as_dict
from proxtune.planning.planner import Selection
from proxtune.runtime.session import Record


def promised(plan: Plan) -> Record:
    """What a result says of the costs that were predicted."""
    return {
        "memory_bytes": plan.cost.memory_bytes, "seconds": plan.cost.seconds, "flops": plan.cost.flops,
        "terms": plan.cost.terms,
    }  # fmt: skip


def plan_table(choice: Selection) -> Record:
    """The chosen plan and every candidate's fate, best first."""
    assert choice.plan is not None
    plan = plan_as_dict(choice.plan)
    rows: list[Record] = [{"plan": plan, "status": "chosen", "reason": "the best expected result that fits"}]
    rows += [
        {"plan": plan_as_dict(p), "status": "fits", "reason": "fits, but less is expected of it"}
        for p in choice.fitting[1:]
    ]
    rows += _refusals(choice)
    return {"chosen": plan, "table": rows}


def refusal(choice: Selection) -> Record:
    """What the person is told when nothing fits: the nearest plan, the shortfall, and why each candidate was refused."""
    infeasible: Infeasible | None = choice.infeasible
    assert infeasible is not None
    return {
        "status": "infeasible",
        "message": infeasible.message,
        "shortfall_bytes": infeasible.shortfall_bytes,
        "shortfall_seconds": infeasible.shortfall_seconds,
        "nearest": plan_as_dict(infeasible.nearest),
        "table": _refusals(choice),
    }


def _refusals(choice: Selection) -> list[dict[str, Any]]:
    return [{"plan": plan_as_dict(r.plan), "status": "refused", "reason": r.reason} for r in choice.refused]
