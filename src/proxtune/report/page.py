"""What the report says, as plain values for its template: headline, notes, results, budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxtune.report.charts import curves_chart, loss_chart, memory_chart
from proxtune.report.formatting import DASH, amount, duration, generates, number, part, rows, shorten, size
from proxtune.report.sections import generation
from proxtune.report.sections.budget import budget_rows, measured_memory, peak_of, phase_bars, promised_memory
from proxtune.report.sections.classification import (
    NOT_BETTER,
    baseline_notes,
    confusion,
    evaluations,
    headline,
    lead,
    mistakes,
    scores,
    tiles_of_labels,
)
from proxtune.report.sections.data import data_facts, recipe_facts
from proxtune.report.sections.plans import plans, step_downs, terms
from proxtune.report.sections.size import allocation

if TYPE_CHECKING:
    from proxtune.report.run_files import RunFiles


_MOST_TOLD = 20


def page_values(run: RunFiles) -> dict[str, Any]:
    """Every value that `report.html.j2` names."""
    result, writes = run.result, generates(run.result)
    limit = part(result, "budget").get("memory")
    return {
        "title": f"{shorten(result.get('model', 'model'), 60)} · {shorten(result.get('method', DASH), 30)}",
        "status": shorten(result.get("status", "unknown"), 30),
        "generates": writes,
        "headline": generation.headline(result) if writes else headline(result),
        "lead": generation.lead(result) if writes else lead(result),
        "notes": _notes(result, run.records),
        "tiles": _tiles(result),
        "scores": generation.scores(result) if writes else scores(result),
        "evaluations": generation.evaluations(result) if writes else evaluations(result),
        "samples": generation.answers(result, "samples") if writes else [],
        "worst": generation.answers(result, "worst") if writes else [],
        "phases": phase_bars(result),
        "budget": budget_rows(result),
        "allocation": allocation(result),
        "memory_chart": memory_chart(run.records, number(limit), promised_memory(result)),
        "loss_chart": loss_chart(run.records, number(part(part(result, "baselines"), "untouched").get("loss"))),
        "accuracy_chart": curves_chart(run.records, part(result, "baselines")),
        "confusion": confusion(result),
        "mistakes": mistakes(result),
        "terms": terms(result),
        "plans": plans(run.plan, result),
        "step_downs": step_downs(result),
        "data": data_facts(result),
        "recipe": recipe_facts(result),
        "recipe_text": run.recipe[:8000],
    }


def _notes(result: dict[str, Any], records: list[dict[str, Any]]) -> list[dict[str, str]]:
    notes = []
    if result.get("status") == "interrupted":
        text = "This run was interrupted. The best model until then is kept in model/; `proxtune resume` goes on."
        notes.append({"kind": "warn", "text": text})
    notes += [{"kind": "info", "text": _interruption(each)} for each in rows(result, "interruptions")[:_MOST_TOLD]]
    notes += generation.notes(result) if generates(result) else baseline_notes(result)
    for row in budget_rows(result):
        if row["over"]:
            text = f"Over budget: {row['name']} was {row['measured']}, the limit {row['limit']}."
            notes.append({"kind": "bad", "text": text})
    faulty = {shorten(row, 200) for r in records if r.get("kind") == "rejected" for row in rows(r, "rows")}
    if faulty:
        text = f"Rows that gave no finite number, and from which nothing was learned: {', '.join(sorted(faulty)[:_MOST_TOLD])}."
        notes.append({"kind": "warn", "text": text})
    lost = sum(1 for r in records if r.get("kind") == "step" and "loss" in r and number(r["loss"]) is None)
    if lost:
        text = f"The loss was not a number in {amount(lost)} steps; a smaller learning rate may help."
        notes.append({"kind": "warn", "text": text})
    is_told = generates(result) or any(note["text"].startswith(NOT_BETTER) for note in notes)
    if result.get("verdict") and not is_told:
        notes.append({"kind": "info", "text": shorten(result["verdict"], 600)})
    return notes


def _interruption(each: Any) -> str:
    """One interruption, in a sentence."""
    told = each if isinstance(each, dict) else {}
    how = f"was stopped by {shorten(told['after'], 30)}" if told.get("after") else "was cut off"
    where = f" in the phase {shorten(told['phase'], 30)}" if told.get("phase") else ""
    again = "."
    if number(told.get("from_step")) is not None:
        repeated = max(0, int(number(told.get("last_step")) or 0) - int(told["from_step"]))
        again = f", and went on from step {amount(told['from_step'])}" + (
            f" ({repeated} steps again)." if repeated else "."
        )
    notes = "".join(f" {shorten(note, 300)}." for note in rows(told, "notes"))
    return f"After {duration(told.get('seconds'))} the run {how}{where}{again}{notes}"


def _tiles(result: dict[str, Any]) -> list[dict[str, str]]:
    budget, measured = part(result, "budget"), part(result, "measured")

    def of(limit: str) -> str:
        return "no limit given" if limit == DASH else f"of {limit}"

    return [
        *(generation.tiles(result) if generates(result) else tiles_of_labels(result)),
        {
            "name": "Peak memory",
            "value": size(peak_of(measured_memory(result))),
            "detail": of(size(budget.get("memory"))),
        },
        {"name": "Time", "value": duration(measured.get("seconds")), "detail": of(duration(budget.get("time")))},
        {"name": "Model", "value": size(result.get("artifact_bytes")), "detail": of(size(budget.get("size")))},
    ]
