"""The result of a run: what `result.json` holds, and how it is read again."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from proxtune.errors import PersonError
from proxtune.recipe import Recipe

Record = dict[str, Any]


def result_of(recipe: Recipe, learned: Record, compared: Record, seconds: float) -> Record:
    """What `result.json` holds."""
    memory = dict(learned["memory_bytes"])
    baselines = compared["baselines"]
    accuracy = learned["metrics"]["accuracy"]
    best_baseline = max(score["accuracy"] for score in baselines.values() if "accuracy" in score)
    beats = accuracy > best_baseline
    return {
        "status": learned["status"],
        "task": recipe.task,
        "model": recipe.model,
        "model_source": learned["model_source"],
        "method": learned["plan"]["method"],
        "plan": learned["plan"],
        "budget": recipe.budget.as_dict(),
        "predicted": learned["predicted"],
        "measured": {
            "memory_bytes": memory,
            "seconds": round(seconds, 2),
            "flops": learned["flops"],
            "baselines_bytes": compared["peak_bytes"],
        },
        "artifact_bytes": learned["artifact_bytes"],
        "metrics": learned["metrics"],
        "baselines": baselines,
        "beats_baselines": beats,
        "verdict": verdict(accuracy, best_baseline),
        "steps": learned["steps"],
        "examples_seen": learned["examples_seen"],
        "step_downs": learned["step_downs"],
        "seed": recipe.seed,
        "versions": versions(),
        "data": learned["data"],
        "confusion": learned["confusion"],
        "mistakes": learned["mistakes"],
        "evaluations": {},
    }


def verdict(accuracy: float, baseline: float) -> str:
    """One sentence on whether the language model earned its keep."""
    if accuracy > baseline:
        lead = 100 * (accuracy - baseline)
        return f"The language model is right on {accuracy:.1%} of the validation rows, {lead:.1f} points above the best baseline."
    return (
        f"The language model does not beat the baselines: {accuracy:.1%} against {baseline:.1%}. "
        "Use the baseline, or give more memory, time or data."
    )


def versions() -> Record:
    """Versions of what a result depends on."""
    names = ("proxtune", "torch", "transformers", "peft", "scikit-learn", "numpy")
    found: Record = {"python": platform.python_version(), "machine": platform.machine()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def read_result(folder: str | Path) -> Record:
    """`result.json` of a run folder. Raises PersonError when there is none."""
    path = Path(folder) / "result.json"
    try:
        result: Record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PersonError(
            f"{folder} is not a finished run (no result.json); give the folder that `proxtune train --out` made"
        ) from error
    except (OSError, ValueError) as error:
        raise PersonError(f"{path} cannot be read: {error}") from error
    return result


def run_with_model(folder: str | Path) -> Path:
    """The absolute path of a finished run that has a model. Raises PersonError when it is none."""
    read_result(folder)
    place = Path(folder).resolve()
    if not (place / "model").is_dir():
        raise PersonError(f"{folder} has no model/ folder; train again")
    return place
