"""The report's part on the data and the recipe as plain values."""

from __future__ import annotations

from typing import Any

from proxtune.report.formatting import DASH, amount, generates, number, part, rows, shorten


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
