"""The results of a run that tells classes apart: accuracy and macro F1, beside the baselines and on other files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.cards.classification import CARD
from proxtune.report.formatting import DASH, amount, duration, number, part, percent, shorten, size
from proxtune.report.run_files import RunFiles
from proxtune.report.scores import baseline_name, beats_baselines, best_baseline, half_width
from proxtune.report.sections.base import Note, ResultSection, Tile


def headline(result: Mapping[str, Any]) -> str:
    """The accuracy, and on how many rows."""
    accuracy, count = (
        number(part(result, "metrics").get("accuracy")),
        number(part(result, "data").get("validation_rows")),
    )
    if accuracy is None:
        return "No validation result yet"
    return f"{percent(accuracy)} accuracy" + (f" on {amount(count)} validation rows" if count else "")


def lead(result: Mapping[str, Any]) -> str:
    """The accuracy of the baselines."""
    parts = [
        f"{percent(row['accuracy'])} for {baseline_name(name)}"
        for name, row in part(result, "baselines").items()
        if isinstance(row, dict) and number(row.get("accuracy")) is not None
    ]
    return f"Baselines: {', '.join(reversed(parts))}." if parts else ""


def tiles(result: Mapping[str, Any]) -> list[Tile]:
    """Accuracy with its uncertainty, and macro F1."""
    metrics = part(result, "metrics")
    count, accuracy = number(part(result, "data").get("validation_rows")), number(metrics.get("accuracy"))
    spread = f"± {100 * half_width(accuracy, count):.1f} points (95 %)" if accuracy is not None and count else ""
    return [
        Tile(name="Accuracy", value=percent(accuracy), detail=spread),
        Tile(name="Macro F1", value=percent(metrics.get("macro_f1")), detail="mean over classes"),
    ]


def notes(result: Mapping[str, Any]) -> list[Note]:
    """Whether the model is worth its bytes: plainly where it does not beat the baselines, or where that is not certain."""
    best, own = best_baseline(result), number(part(result, "metrics").get("accuracy"))
    found = []
    if best is not None and own is not None:
        name, accuracy = baseline_name(best[0]), best[1]
        if beats_baselines(result) is False:
            text = (
                f"The language model does not beat the baselines: {percent(own)} against {percent(accuracy)} for {name}. "
                "Use that, or give more rows, more time or a larger model."
            )
            return [Note(kind="bad", text=text)]  # the verdict says no more
        count = number(part(result, "data").get("validation_rows"))
        if count and own - accuracy < half_width(own, count):
            text = (
                f"The lead over {name} is {100 * (own - accuracy):.1f} points, but {amount(count)} rows give the accuracy only "
                f"to about ±{100 * half_width(own, count):.1f} points. Validate on more rows to be sure."
            )
            found.append(Note(kind="warn", text=text))
    if result.get("verdict"):
        found.append(Note(kind="info", text=shorten(result["verdict"], 600)))
    return found


def scores(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The model and its baselines, with what each takes."""
    own = part(result, "metrics")
    baselines = {name: row for name, row in part(result, "baselines").items() if isinstance(row, dict)}
    table = [("this model", own, result.get("artifact_bytes"), part(result, "measured").get("seconds"), True)]
    for name, row in sorted(baselines.items(), key=lambda item: -(number(item[1].get("accuracy")) or 0)):
        table.append((baseline_name(name), row, row.get("bytes"), row.get("seconds"), False))
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


def evaluations(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Scores on other files."""
    table = []
    for source, row in part(result, "evaluations").items():
        found = row if isinstance(row, dict) else {}
        metrics, best = part(found, "metrics"), best_baseline(found)
        table.append(
            {
                "source": shorten(source, 80),
                "rows": amount(found.get("rows")),
                "accuracy": percent(metrics.get("accuracy")),
                "macro_f1": percent(metrics.get("macro_f1")),
                "loss": amount(metrics.get("loss")),
                "baseline": f"{percent(best[1])} · {baseline_name(best[0])}" if best else DASH,
            }
        )
    return table


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    table, others = scores(run.result), evaluations(run.result)
    return {"scores": table, "evaluations": others} if table or others else None


SECTION = ResultSection(
    name="classification",
    title="Result",
    anchor="result",
    values=_values,
    headline=headline,
    lead=lead,
    tiles=tiles,
    notes=notes,
    card=CARD,
)
