"""The report's tables as plain values: confusion, mistakes, memory terms, plans, data, recipe."""

from __future__ import annotations

from typing import Any

from proxtune.report_words import DASH, amount, duration, generates, number, part, percent, rows, shorten, size

LARGEST_CONFUSION = 12  # classes; more do not fit a page, and the worst pairs say it better
MOST_MISTAKES = 20
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


def data_facts(result: dict[str, Any]) -> dict[str, Any]:
    """Where the rows came from and how they were read."""
    data = part(result, "data")
    labels = [shorten(name, 40) for name in rows(data, "labels")]
    more = f" and {len(labels) - 12} more" if len(labels) > 12 else ""
    cut, longest = number(data.get("truncated_rows")), number(data.get("max_length"))
    facts = [
        ("source", shorten(data.get("source", DASH), 200)),
        ("rows to learn from", amount(data.get("train_rows"))),
        ("rows to judge by", amount(data.get("validation_rows"))),
    ]
    if generates(result):
        facts += [
            ("answers judged", amount(result.get("judged_answers"))),
            ("said before each text", shorten(data.get("instruction") or "nothing", 200)),
            ("longest row kept, with its answer", f"{amount(longest)} tokens" if longest else DASH),
            ("rows cut to that", amount(cut)),
            ("tokens of an answer at most", amount(data.get("new_tokens"))),
        ]
    else:
        facts += [
            ("labels", ", ".join(labels[:12]) + more if labels else DASH),
            ("longest text kept", f"{amount(longest)} tokens" if longest else DASH),
            ("texts cut to that", amount(cut)),
        ]
    return {"facts": facts, "notes": [shorten(note, 400) for note in rows(data, "notes")]}


def recipe_facts(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Everything needed to run it again."""
    plan = part(result, "plan")
    facts: list[tuple[str, Any]] = [
        ("task", result.get("task")),
        ("model", result.get("model")),
        ("model source", result.get("model_source")),
        ("plan", plan.get("name") or plan.get("method")),
        ("seed", result.get("seed")),
        ("steps", amount(result.get("steps"))),
        ("examples seen", amount(result.get("examples_seen"))),
        ("learning rate", amount(plan.get("learning_rate"))),
        ("optimizer", plan.get("optimizer")),
        ("allocator", plan.get("allocator")),
    ]
    facts += [(f"{name} version", version) for name, version in sorted(part(result, "versions").items())]
    return [(shorten(name, 60), shorten(value, 200)) for name, value in facts if value not in (None, "", DASH)]
