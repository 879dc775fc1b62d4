"""Everything needed to run it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.formatting import DASH, amount, part, shorten
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Section

_MOST_CHARACTERS = 8000


def recipe_facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the run was made with, as far as it is known."""
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


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    return {"facts": recipe_facts(run.result), "recipe": run.recipe[:_MOST_CHARACTERS]}


SECTION = Section(name="recipe", title="Reproduce this run", anchor="recipe", values=_values)
