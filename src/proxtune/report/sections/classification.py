"""The report's part on labels as plain values: headline, scores beside baselines, confusion, mistakes."""

from __future__ import annotations

from typing import Any

from proxtune.report.formatting import (
    BASELINES,
    DASH,
    amount,
    beats_baselines,
    best_baseline,
    duration,
    half_width,
    number,
    part,
    percent,
    rows,
    shorten,
    size,
)

NOT_BETTER = "The language model does not beat the baselines"


def headline(result: dict[str, Any]) -> str:
    accuracy = number(part(result, "metrics").get("accuracy"))
    count = number(part(result, "data").get("validation_rows"))
    if accuracy is None:
        return "No validation result yet"
    return f"{percent(accuracy)} right" + (f" on {amount(count)} rows kept aside" if count else "")


def lead(result: dict[str, Any]) -> str:
    parts = []
    for name, row in part(result, "baselines").items():
        if isinstance(row, dict) and number(row.get("accuracy")) is not None:
            parts.append(f"{percent(row['accuracy'])} for {BASELINES.get(name, shorten(name, 40))}")
    has_own = number(part(result, "metrics").get("accuracy")) is not None
    return (("Against " if has_own else "Baselines: ") + " and ".join(reversed(parts)) + ".") if parts else ""


def baseline_notes(result: dict[str, Any]) -> list[dict[str, str]]:
    """Plain words where the language model is not worth its bytes, or may not be."""
    best, own = best_baseline(result), number(part(result, "metrics").get("accuracy"))
    if best is None or own is None:
        return []
    name = BASELINES.get(best[0], shorten(best[0], 40))
    if beats_baselines(result) is False:
        text = (
            f"{NOT_BETTER}: {percent(own)} against {percent(best[1])} for {name}. "
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


def tiles_of_labels(result: dict[str, Any]) -> list[dict[str, str]]:
    metrics = part(result, "metrics")
    count, accuracy = number(part(result, "data").get("validation_rows")), number(metrics.get("accuracy"))
    spread = f"± {100 * half_width(accuracy, count):.1f} points (95 %)" if accuracy is not None and count else ""
    return [
        {"name": "Accuracy", "value": percent(accuracy), "detail": spread},
        {"name": "Macro F1", "value": percent(metrics.get("macro_f1")), "detail": "mean over classes"},
    ]


def scores(result: dict[str, Any]) -> list[dict[str, Any]]:
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


def evaluations(result: dict[str, Any]) -> list[dict[str, str]]:
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


LARGEST_CONFUSION = 12  # classes; more do not fit a page, and the worst pairs say it better
MOST_MISTAKES = 20


def confusion(result: dict[str, Any]) -> dict[str, Any] | None:
    """The confusion matrix with a heat for each cell, or the worst pairs when there are many classes."""
    counts = [[number(n) or 0 for n in row] for row in rows(result, "confusion") if isinstance(row, list)]
    if not counts or any(len(row) != len(counts) for row in counts):
        return None
    labels = [shorten(name, 40) for name in rows(part(result, "data"), "labels")]
    labels += [f"class {i}" for i in range(len(labels), len(counts))]
    pairs = [
        {"label": labels[i], "predicted": labels[j], "count": n, "share": percent(n / sum(row))}
        for i, row in enumerate(counts)
        for j, n in enumerate(row)
        if i != j and n
    ]
    pairs.sort(key=lambda pair: -float(pair["count"]))
    matrix = [
        {
            "label": labels[i],
            "recall": percent(row[i] / sum(row)) if sum(row) else DASH,
            "total": amount(sum(row)),
            "cells": [
                {"count": amount(n), "heat": round(n / sum(row), 3) if sum(row) else 0, "right": i == j}
                for j, n in enumerate(row)
            ],
        }
        for i, row in enumerate(counts)
    ]
    small = len(counts) <= LARGEST_CONFUSION
    return {
        "labels": labels[: len(counts)],
        "matrix": matrix if small else [],
        "pairs": [] if small else [pair | {"count": amount(pair["count"])} for pair in pairs[:20]],
        "classes": amount(len(counts)),
    }


def mistakes(result: dict[str, Any]) -> list[dict[str, str]]:
    """The wrong answers, the most confident first."""
    found = [row for row in rows(result, "mistakes") if isinstance(row, dict)]
    found.sort(key=lambda row: -(number(row.get("confidence")) or 0.0))
    return [
        {
            "text": shorten(row.get("text", ""), 420),
            "label": shorten(row.get("label", DASH), 40),
            "predicted": shorten(row.get("predicted", DASH), 40),
            "confidence": percent(row.get("confidence")),
            "line": DASH if number(row.get("line")) is None else str(row["line"]),
        }
        for row in found[:MOST_MISTAKES]
    ]
