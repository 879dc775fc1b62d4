"""What the report says, as plain values for its template: headline, notes, results, budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxtune import report_answers
from proxtune.report_budget import budget_rows, measured_memory, peak_of, phase_bars, promised_memory
from proxtune.report_charts import curves_chart, loss_chart, memory_chart
from proxtune.report_size import allocation
from proxtune.report_tables import confusion, data_facts, mistakes, plans, recipe_facts, step_downs, terms
from proxtune.report_words import (
    BASELINES,
    DASH,
    amount,
    beats_baselines,
    best_baseline,
    duration,
    generates,
    half_width,
    number,
    part,
    percent,
    rows,
    shorten,
    size,
)

if TYPE_CHECKING:
    from proxtune.report import RunFiles


_MOST_TOLD = 20
_NOT_BETTER = "The language model does not beat the baselines"


def page_values(run: RunFiles) -> dict[str, Any]:
    """Every value that `report.html.j2` names."""
    result, writes = run.result, generates(run.result)
    limit = part(result, "budget").get("memory")
    return {
        "title": f"{shorten(result.get('model', 'model'), 60)} · {shorten(result.get('method', DASH), 30)}",
        "status": shorten(result.get("status", "unknown"), 30),
        "generates": writes,
        "headline": report_answers.headline(result) if writes else _headline(result),
        "lead": report_answers.lead(result) if writes else _lead(result),
        "notes": _notes(result, run.records),
        "tiles": _tiles(result),
        "scores": report_answers.scores(result) if writes else _scores(result),
        "evaluations": report_answers.evaluations(result) if writes else _evaluations(result),
        "samples": report_answers.answers(result, "samples") if writes else [],
        "worst": report_answers.answers(result, "worst") if writes else [],
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


def _headline(result: dict[str, Any]) -> str:
    accuracy = number(part(result, "metrics").get("accuracy"))
    count = number(part(result, "data").get("validation_rows"))
    if accuracy is None:
        return "No validation result yet"
    return f"{percent(accuracy)} right" + (f" on {amount(count)} rows kept aside" if count else "")


def _lead(result: dict[str, Any]) -> str:
    parts = []
    for name, row in part(result, "baselines").items():
        if isinstance(row, dict) and number(row.get("accuracy")) is not None:
            parts.append(f"{percent(row['accuracy'])} for {BASELINES.get(name, shorten(name, 40))}")
    has_own = number(part(result, "metrics").get("accuracy")) is not None
    return (("Against " if has_own else "Baselines: ") + " and ".join(reversed(parts)) + ".") if parts else ""


def _notes(result: dict[str, Any], records: list[dict[str, Any]]) -> list[dict[str, str]]:
    notes = []
    if result.get("status") == "interrupted":
        why = f": {shorten(result['hung'], 600)}" if isinstance(result.get("hung"), str) else ""
        text = f"This run was interrupted{why}. The best model until then is kept in model/; `proxtune resume` goes on."
        notes.append({"kind": "warn", "text": text})
    notes += [{"kind": "info", "text": _interruption(each)} for each in rows(result, "interruptions")[:_MOST_TOLD]]
    notes += report_answers.notes(result) if generates(result) else _baseline_notes(result)
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
    is_told = generates(result) or any(note["text"].startswith(_NOT_BETTER) for note in notes)
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


def _baseline_notes(result: dict[str, Any]) -> list[dict[str, str]]:
    """Plain words where the language model is not worth its bytes, or may not be."""
    best, own = best_baseline(result), number(part(result, "metrics").get("accuracy"))
    if best is None or own is None:
        return []
    name = BASELINES.get(best[0], shorten(best[0], 40))
    if beats_baselines(result) is False:
        text = (
            f"{_NOT_BETTER}: {percent(own)} against {percent(best[1])} for {name}. "
            "Use that, or give more rows, more time or a larger model."
        )
        return [{"kind": "bad", "text": text}]
    count = number(part(result, "data").get("validation_rows"))
    if count and own - best[1] < half_width(own, count):
        text = (
            f"The lead over {name} is {100 * (own - best[1]):.1f} points; on {amount(count)} rows the accuracy itself "
            f"is known to about ±{100 * half_width(own, count):.1f} points. More validation rows would settle it."
        )
        return [{"kind": "warn", "text": text}]
    return []


def _tiles(result: dict[str, Any]) -> list[dict[str, str]]:
    budget, measured = part(result, "budget"), part(result, "measured")

    def of(limit: str) -> str:
        return "no limit given" if limit == DASH else f"of {limit}"

    return [
        *(report_answers.tiles(result) if generates(result) else _tiles_of_labels(result)),
        {
            "name": "Peak memory",
            "value": size(peak_of(measured_memory(result))),
            "detail": of(size(budget.get("memory"))),
        },
        {"name": "Time", "value": duration(measured.get("seconds")), "detail": of(duration(budget.get("time")))},
        {"name": "Model", "value": size(result.get("artifact_bytes")), "detail": of(size(budget.get("size")))},
    ]


def _tiles_of_labels(result: dict[str, Any]) -> list[dict[str, str]]:
    metrics = part(result, "metrics")
    count, accuracy = number(part(result, "data").get("validation_rows")), number(metrics.get("accuracy"))
    spread = f"± {100 * half_width(accuracy, count):.1f} points (95 %)" if accuracy is not None and count else ""
    return [
        {"name": "Accuracy", "value": percent(accuracy), "detail": spread},
        {"name": "Macro F1", "value": percent(metrics.get("macro_f1")), "detail": "mean over classes"},
    ]


def _scores(result: dict[str, Any]) -> list[dict[str, Any]]:
    own = part(result, "metrics")
    baselines = {name: row for name, row in part(result, "baselines").items() if isinstance(row, dict)}
    table = [("this model", own, result.get("artifact_bytes"), part(result, "measured").get("seconds"), True)]
    for name, row in sorted(baselines.items(), key=lambda item: -(number(item[1].get("accuracy")) or 0)):
        table.append((BASELINES.get(name, shorten(name, 40)), row, row.get("bytes"), row.get("seconds"), False))
    return [
        {
            "name": name,
            "accuracy": percent(row.get("accuracy")),
            "width": round(100 * min(1.0, max(0.0, number(row.get("accuracy")) or 0.0)), 2),
            "macro_f1": percent(row.get("macro_f1")),
            "bytes": size(weight),
            "seconds": duration(seconds),
            "own": is_own,
        }
        for name, row, weight, seconds, is_own in table
        if row
    ]


def _evaluations(result: dict[str, Any]) -> list[dict[str, str]]:
    table = []
    for source, row in part(result, "evaluations").items():
        metrics = part(row, "metrics")
        count = row.get("rows") if isinstance(row, dict) else None
        best = best_baseline(row if isinstance(row, dict) else {})
        cells = {"baseline": f"{percent(best[1])} · {BASELINES.get(best[0], shorten(best[0], 40))}" if best else DASH}
        cells |= {"accuracy": percent(metrics.get("accuracy")), "macro_f1": percent(metrics.get("macro_f1"))}
        cells |= {"source": shorten(source, 80), "rows": amount(count), "loss": amount(metrics.get("loss"))}
        table.append(cells)
    return table
