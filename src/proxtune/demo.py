"""The demo: the main job on the bundled movie reviews, and its figures on the test rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from proxtune.config.budget import Budget
from proxtune.config.recipe import Recipe
from proxtune.console import ProgressDisplay, show_evaluation, show_result
from proxtune.pipeline.queries import evaluate
from proxtune.pipeline.supervisor import train
from proxtune.samples import movies_path


def free_folder(wanted: str) -> str:
    """`wanted`, or `wanted-2`, `wanted-3`, … when it is taken: a demo may be run again."""
    name, number = wanted, 1
    while Path(name).exists():
        number += 1
        name = f"{wanted}-{number}"
    return name


def run_demo(out: str, budget: Budget, started: float) -> dict[str, Any]:
    """Train on the sample's train rows, evaluate on its test rows, say where the report is."""
    recipe = Recipe(data=str(movies_path("train")), out=out, task="classify", budget=budget)
    with ProgressDisplay(budget) as progress:
        result = train(recipe, progress.on_event, started)
    show_result(result, out)
    found = evaluate(out, str(movies_path("test")))
    show_evaluation(found, "the test rows")
    sys.stderr.write(f"report: {Path(out).resolve() / 'report.html'}\n")
    return {**result, "test": found}
