"""What `result.json` holds, put together."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from proxtune.config.recipe import Recipe
from proxtune.storage.result import BASELINE_WORDS
from proxtune.tasks.generation.metrics import NAMES, in_points

Record = dict[str, Any]


def result_of(recipe: Recipe, fit_result: Record, compared: Record, seconds: float) -> Record:
    """What `result.json` holds."""
    memory = dict(fit_result["memory_bytes"])
    baselines = compared["baselines"]
    main, metrics = compared.get("main", "accuracy"), compared.get("metrics") or fit_result["metrics"]
    found = metrics[main]
    best_baseline = max(score[main] for score in baselines.values() if main in score)
    beats = found > best_baseline
    return {
        "status": fit_result["status"],
        "task": recipe.task,
        "model": recipe.model,
        "model_source": fit_result["model_source"],
        "method": fit_result["plan"]["method"],
        "plan": fit_result["plan"],
        "budget": recipe.budget.as_dict(),
        "predicted": fit_result["predicted"],
        "measured": {
            "memory_bytes": memory,
            "seconds": round(seconds, 2),
            "flops": fit_result["flops"],
            "baselines_bytes": compared["peak_bytes"],
        },
        "artifact_bytes": fit_result["artifact_bytes"],
        "metrics": metrics,
        "main_metric": main,
        "baselines": baselines,
        "beats_baselines": beats,
        "verdict": verdict(found, best_baseline) if main == "accuracy" else text_verdict(main, found, baselines),
        "steps": fit_result["steps"],
        "examples_seen": fit_result["examples_seen"],
        "step_downs": fit_result["step_downs"],
        "seed": recipe.seed,
        "versions": versions(),
        "size": fit_result.get("size"),
        "data": fit_result["data"],
        **{key: fit_result[key] for key in ("confusion", "mistakes") if key in fit_result},
        **{key: compared[key] for key in ("judged_answers", "samples", "worst") if key in compared},
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


def text_verdict(main: str, found: float, baselines: dict[str, dict[str, float]]) -> str:
    """One sentence on what training brought, in points (0 to 100)."""
    words = ", ".join(
        f"{BASELINE_WORDS.get(name, name)} {in_points(main, score[main]):.1f}" for name, score in baselines.items()
    )
    best = max(score[main] for score in baselines.values())
    lead = f"The model answers with {NAMES[main]} {in_points(main, found):.1f} on the judged rows ({words})"
    if found > best:
        return f"{lead}: {in_points(main, found - best):.1f} points above the best of these."
    return f"{lead}: it does not beat all of these. Give more memory, time or data."


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
