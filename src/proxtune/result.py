"""The result of a run: what `result.json` holds, and how it is read again."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from proxtune.errors import PersonError
from proxtune.recipe import Recipe
from proxtune.text_scores import NAMES, in_points

Record = dict[str, Any]
LEARNED = "learned.json"  # what the process that learns ended with
FEATURES_SETTLED = "settled.json"  # the first half of learning in two halves is done (`learn_probe.py`)


def result_of(recipe: Recipe, learned: Record, compared: Record, seconds: float) -> Record:
    """What `result.json` holds."""
    memory = dict(learned["memory_bytes"])
    baselines = compared["baselines"]
    main, metrics = compared.get("main", "accuracy"), compared.get("metrics") or learned["metrics"]
    found = metrics[main]
    best_baseline = max(score[main] for score in baselines.values() if main in score)
    beats = found > best_baseline
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
        "metrics": metrics,
        "main_metric": main,
        "baselines": baselines,
        "beats_baselines": beats,
        "verdict": verdict(found, best_baseline) if main == "accuracy" else text_verdict(main, found, baselines),
        "steps": learned["steps"],
        "examples_seen": learned["examples_seen"],
        "step_downs": learned["step_downs"],
        "seed": recipe.seed,
        "versions": versions(),
        "size": learned.get("size"),
        "data": learned["data"],
        **{key: learned[key] for key in ("confusion", "mistakes") if key in learned},
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


BASELINE_WORDS = {
    "untouched": "the untouched model", "first_sentence": "the first sentence", "copy_source": "the source as it is",
    "commonest": "the commonest answer", "copy_prompt": "the question itself",
}  # fmt: skip


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


def learned_before(folder: Path) -> Record | None:
    """What an earlier sitting of the run learned to the end; None where it has to go on learning."""
    try:
        learned: Record = json.loads((folder / LEARNED).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return learned if learned.get("status") == "done" and (folder / "model").is_dir() else None


def learned_so_far(folder: Path) -> Record:
    """What the process that learns wrote at its end, be it finished or interrupted. Raises OSError, ValueError."""
    learned: Record = json.loads((folder / LEARNED).read_text(encoding="utf-8"))
    return learned


def is_finished(folder: Path) -> bool:
    """Whether a run has come to its end: result, model and report."""
    if not ((folder / "result.json").is_file() and (folder / "report.html").is_file()):
        return False
    return read_result(folder).get("status") == "done" and (folder / "model").is_dir()


def how_it_ended(records: list[Record]) -> Record:
    """How the last sitting of a run ended, by its records: by what, in which phase, after which step."""
    by = records[-1].get("by") if records and records[-1].get("kind") == "interrupted" else None
    phases = [record["phase"] for record in records if record.get("kind") == "phase" and "phase" in record]
    steps = [record["step"] for record in records if record.get("kind") in ("step", "continued") and "step" in record]
    return {"after": by, "phase": phases[-1] if phases else None, "last_step": steps[-1] if steps else 0}


def best_step(records: list[Record]) -> int:
    """The step of the best weights on disk, by the records; the last step where none was judged."""
    best = [record["step"] for record in records if record.get("kind") == "validation" and record.get("best")]
    return int(best[-1]) if best else last_step(records)


def last_step(records: list[Record]) -> int:
    """How many steps the model had come to."""
    return int(_last_progress(records).get("step", 0))


def examples_seen(records: list[Record]) -> int:
    """How many rows it had learned from, each as often as it was seen."""
    return int(_last_progress(records).get("examples_seen", 0))


def was_trained(records: list[Record]) -> bool:
    """Whether training had come to its end, and the final judgement was made when the records stopped."""
    phases = [record.get("phase") for record in records if record.get("kind") == "phase"]
    last = _last_progress(records)
    return phases[-1:] in (["evaluate"], ["save"]) and last.get("step", 0) >= last.get("steps", float("inf"))


def _last_progress(records: list[Record]) -> Record:
    found = (record for record in reversed(records) if record.get("kind") in ("step", "continued") and "step" in record)
    return next(found, {})


def interruptions(records: list[Record]) -> list[Record]:
    """Each time that the run was gone on with: when on its own clock, after what, and from which step."""
    found: list[Record] = []
    for record in records:
        if record.get("kind") == "resumed":
            found.append({key: record.get(key) for key in ("seconds", "after", "phase", "last_step")})
        elif record.get("kind") == "continued" and found:
            found[-1] |= {"from_step": record.get("step"), "notes": record.get("notes", [])}
    return found


def step_downs_of(records: list[Record], learned: list[Record]) -> list[Record]:
    """The step-downs of all sittings, in order; `learned` are those that the last one tells of."""
    told = [record for record in records if record.get("kind") == "step_down"]
    found = [step for step in learned if step not in told] + told
    return sorted(found, key=lambda step: step.get("seconds", 0.0))
