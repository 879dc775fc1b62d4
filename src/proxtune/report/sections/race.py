"""The race: the contenders' learning curves, and who won."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.charts import race_chart
from proxtune.report.formatting import DASH, amount, duration, part, shorten
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Section
from proxtune.report.series import lap_curves


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    records = [record for record in run.records if record.get("kind") == "race"]
    if not records:
        return None
    method = str(part(run.plan, "chosen").get("method", ""))
    chosen = next((name for record in records if (name := str(record.get("plan"))).split(" ")[0] == method), "")
    return {"race_chart": race_chart(run.records, chosen), "laps": [_lap(record, chosen) for record in records]}


def _lap(record: Mapping[str, Any], chosen: str) -> dict[str, str]:
    why = shorten(record.get("refused") or "", 200)
    points = lap_curves([record]).get(str(record.get("plan")), [])
    return {
        "plan": shorten(record.get("plan", DASH), 90),
        "steps": amount(record.get("steps")),
        "seconds": duration(points[-1][0]) if points else DASH,
        "before": f"{points[0][1]:.3f}" if points else DASH,
        "after": f"{points[-1][1]:.3f}" if points else DASH,
        "status": "out" if why else "chosen" if record.get("plan") == chosen else "lost",
        "why": why,
    }


SECTION = Section(name="race", title="Race", anchor="race", values=_values)
