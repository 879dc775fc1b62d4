"""What a fit begins and ends with, and what `result.json` holds."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, ClassVar, Self

from proxtune.config.plan import Plan, plan_from_dict
from proxtune.config.recipe import Recipe
from proxtune.storage.events import StepDown
from proxtune.storage.result import BASELINE_WORDS, LOST_TO_BASE
from proxtune.storage.serializable import Serializable
from proxtune.tasks.generation.scoring.metrics import NAMES, in_points


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing(Serializable):
    """What keeps a training in its time: seconds to keep free at its end, and what the plan foresees in between."""

    _KEYS: ClassVar[Mapping[str, str]] = {
        "max_steps": "most_steps", "size_phase_seconds": "milestone_seconds", "validation_steps": "judging_steps",
    }  # fmt: skip
    ending_seconds: float
    evaluations: int
    max_steps: int
    size_phase_seconds: float = 0.0
    validation_seconds: float = 0.0
    validation_steps: float = 0.0
    final_validations: float = 1.0  # evaluations in training that the result's takes as long as
    head_seconds: float = 0.0  # for the fit of a classification layer before the first step; 0 where nothing tells


@dataclass(frozen=True, slots=True, kw_only=True)
class FitStart(Serializable):
    """What a training begins with, kept in its journal: the plan, what it promises, step-downs so far, and its timing."""

    _KEYS: ClassVar[Mapping[str, str]] = {"timing": "pace"}
    plan: Mapping[str, Any]
    predicted: Mapping[str, Any]
    step_downs: tuple[StepDown, ...]
    timing: Timing

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`."""
        step_downs = tuple(StepDown.from_dict(each) for each in raw["step_downs"])
        timing = Timing.from_dict(raw["pace"])
        return cls(plan=raw["plan"], predicted=raw["predicted"], step_downs=step_downs, timing=timing)

    @property
    def chosen(self) -> Plan:
        """The plan as a value."""
        return plan_from_dict(dict(self.plan))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a training came."""

    status: str  # "done" or "interrupted"
    steps: int
    examples_seen: int
    flops: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult(Serializable):
    """What a fit ends with; `results` are the task's own, `best_step` that of the model where the fit had to be finished."""

    _SPREAD: ClassVar[str | None] = "results"
    _OPTIONAL: ClassVar[frozenset[str]] = frozenset({"best_step"})
    status: str
    plan: Mapping[str, Any]
    predicted: Mapping[str, Any]
    step_downs: tuple[Mapping[str, Any], ...]
    steps: int
    examples_seen: int
    flops: float
    metrics: Mapping[str, float]
    artifact_bytes: int
    memory_bytes: Mapping[str, int]
    size: Mapping[str, Any] | None
    data: Mapping[str, Any]
    model_source: str
    results: Mapping[str, Any]
    best_step: int | None = None


def result_of(recipe: Recipe, fit: FitResult, compared: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What `result.json` holds. `compared` is what the baselines came to."""
    baselines = compared["baselines"]
    main, metrics = compared.get("main", "accuracy"), compared.get("metrics") or fit.metrics
    found = metrics[main]
    best_baseline = max(score[main] for score in baselines.values() if main in score)
    if main == "accuracy":
        words = verdict(found, best_baseline)
    else:
        words = text_verdict(main, found, baselines, fit.results.get(LOST_TO_BASE), compared.get("gain"))
    return {
        "status": fit.status,
        "task": recipe.task,
        "model": recipe.model,
        "model_source": fit.model_source,
        "method": fit.plan["method"],
        "plan": fit.plan,
        "budget": recipe.budget.as_dict(),
        "predicted": fit.predicted,
        "measured": {
            "memory_bytes": dict(fit.memory_bytes),
            "seconds": round(seconds, 2),
            "flops": fit.flops,
            "baselines_bytes": compared["peak_bytes"],
        },
        "artifact_bytes": fit.artifact_bytes,
        "metrics": metrics,
        "main_metric": main,
        "baselines": baselines,
        "beats_baselines": found > best_baseline,
        "verdict": words,
        "steps": fit.steps,
        "examples_seen": fit.examples_seen,
        "step_downs": list(fit.step_downs),
        "seed": recipe.seed,
        "versions": versions(),
        "size": fit.size,
        "data": fit.data,
        **{key: fit.results[key] for key in ("confusion", "confused", "mistakes", LOST_TO_BASE) if key in fit.results},
        **{key: compared[key] for key in ("judged_answers", "gain", "samples", "worst") if key in compared},
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


def text_verdict(
    main: str,
    found: float,
    baselines: dict[str, dict[str, float]],
    lost: str | None = None,
    gain: Mapping[str, Any] | None = None,
) -> str:
    """One sentence on what training brought, in points (0 to 100).

    `lost` says by how much it is not better than the base model, where that is kept; `gain` what it gained over it, and whether
    that is clear.
    """
    words = ", ".join(
        f"{BASELINE_WORDS.get(name, name)} {in_points(main, score[main]):.1f}" for name, score in baselines.items()
    )
    scores = f"{NAMES[main]} {in_points(main, found):.1f} on the validation rows ({words})"
    if lost is not None:
        return (
            f"What was learned is not better than the base model ({lost}), so model/ holds the base model's weights, "
            f"with {scores}. Give more memory, time or data."
        )
    best = max(score[main] for score in baselines.values())
    lead = f"The model answers with {scores}"
    if found > best:
        above = f"{lead}: {in_points(main, found - best):.1f} points above the best of these"
        if gain is not None and not gain["is_clear"]:
            return f"{above}, which may be chance ({gain['words']} over the base model). Give more time, or more validation rows."
        return f"{above}."
    return f"{lead}: it does not beat all of these. Give more memory, time or data."


def versions() -> dict[str, str | None]:
    """Versions of what a result depends on."""
    names = ("proxtune", "torch", "transformers", "peft", "scikit-learn", "numpy")
    found: dict[str, str | None] = {"python": platform.python_version(), "machine": platform.machine()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found
