"""The chosen plan, what it promises, and every other candidate's fate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from proxtune.config.plan import Infeasible, Plan, Refused, plan_as_dict
from proxtune.planning.learning_curves import lap_words
from proxtune.planning.planner import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """A candidate and its fate: `status` is "chosen", "fits" or "refused"."""

    plan: Plan
    status: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"plan": plan_as_dict(self.plan), "status": self.status, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTable:
    """The chosen plan and every candidate's fate, best first."""

    chosen: Plan
    rows: tuple[PlanRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: `plan.json`."""
        return {"chosen": plan_as_dict(self.chosen), "table": [row.as_dict() for row in self.rows]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What the user is told when nothing fits: the nearest plan, the shortfall, and why each candidate was refused."""

    infeasible: Infeasible
    rows: tuple[PlanRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "status": "infeasible",
            "message": self.infeasible.message,
            "shortfall_bytes": self.infeasible.shortfall_bytes,
            "shortfall_seconds": self.infeasible.shortfall_seconds,
            "nearest": plan_as_dict(self.infeasible.nearest),
            "table": [row.as_dict() for row in self.rows],
        }


def promised(plan: Plan) -> dict[str, Any]:
    """What a result says of the costs that were predicted."""
    return asdict(plan.cost)


def plan_table(choice: Selection) -> PlanTable:
    """The chosen plan and every candidate's fate, best first."""
    assert choice.plan is not None, "something fits"
    raced = {lap.plan.name: lap_words(lap) for lap in choice.laps}
    why = raced.get(choice.plan.name, "the best expected result that fits")
    chosen = PlanRow(plan=choice.plan, status="chosen", reason=why)
    others = (
        PlanRow(plan=p, status="fits", reason=raced.get(p.name, "fits, by an estimate")) for p in choice.fitting[1:]
    )
    return PlanTable(chosen=choice.plan, rows=(chosen, *others, *_refused_rows(choice.refused)))


def refusal(choice: Selection) -> Refusal:
    """Why nothing fits."""
    assert choice.infeasible is not None, "nothing fits"
    return Refusal(infeasible=choice.infeasible, rows=_refused_rows(choice.refused))


def _refused_rows(refused: list[Refused]) -> tuple[PlanRow, ...]:
    return tuple(PlanRow(plan=entry.plan, status="refused", reason=entry.reason) for entry in refused)
