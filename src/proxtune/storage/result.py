"""The result of a run: how `result.json` is read again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from proxtune.errors import UserError

FIT_RESULT = "learned.json"  # what the process that learns ended with
HEAD = "head.npz"  # a fitted classification layer, which the rest of a run begins with (`pipeline/fitted_head.py`), and
HEAD_RESULT = "settled.json"  # what was found with it; of an earlier version the second may be there alone
LOST_TO_BASE = "lost_to_base"  # by how much what was learned is not better than the base model, where that is kept


BASELINE_WORDS = {
    "untouched": "the base model", "first_sentence": "the first sentence", "copy_source": "the source as it is",
    "commonest": "the most common answer", "copy_prompt": "the question itself",
}  # fmt: skip


def read_result(folder: str | Path) -> dict[str, Any]:
    """`result.json` of a run folder. Raises UserError when there is none."""
    path = Path(folder) / "result.json"
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} is not a finished run (no result.json); give the folder that `proxtune train --out` made"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return result


def run_with_model(folder: str | Path) -> Path:
    """The absolute path of a finished run that has a model. Raises UserError when it is none."""
    read_result(folder)
    place = Path(folder).resolve()
    if not (place / "model").is_dir():
        raise UserError(f"{folder} has no model/ folder; train again")
    return place


def finished_fit(folder: Path) -> dict[str, Any] | None:
    """What an earlier sitting of the run learned to the end; None where it has to continue learning."""
    try:
        fit_result: dict[str, Any] = json.loads((folder / FIT_RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return fit_result if fit_result.get("status") == "done" and (folder / "model").is_dir() else None


def read_fit_result(folder: Path) -> dict[str, Any]:
    """What the process that learns wrote at its end, be it finished or interrupted. Raises OSError, ValueError."""
    fit_result: dict[str, Any] = json.loads((folder / FIT_RESULT).read_text(encoding="utf-8"))
    return fit_result


def has_fitted_head(folder: Path) -> bool:
    """Whether there is a fitted classification layer to begin with."""
    return (folder / HEAD).is_file() and (folder / HEAD_RESULT).is_file()


def is_finished(folder: Path) -> bool:
    """Whether a run has come to its end: result, model and report."""
    if not ((folder / "result.json").is_file() and (folder / "report.html").is_file()):
        return False
    return read_result(folder).get("status") == "done" and (folder / "model").is_dir()


def how_it_ended(records: list[dict[str, Any]]) -> dict[str, Any]:
    """How the last sitting of a run ended, by its records: by what, in which phase, after which step."""
    by = records[-1].get("by") if records and records[-1].get("kind") == "interrupted" else None
    phases = [record["phase"] for record in records if record.get("kind") == "phase" and "phase" in record]
    steps = [record["step"] for record in records if record.get("kind") in ("step", "continued") and "step" in record]
    return {"after": by, "phase": phases[-1] if phases else None, "last_step": steps[-1] if steps else 0}


def best_step(records: list[dict[str, Any]]) -> int:
    """The step of the best weights on disk, by the records; the last step where none was evaluated."""
    best = [record["step"] for record in records if record.get("kind") == "validation" and record.get("best")]
    return int(best[-1]) if best else last_step(records)


def last_step(records: list[dict[str, Any]]) -> int:
    """How many steps the model had come to."""
    return int(_last_progress(records).get("step", 0))


def examples_seen(records: list[dict[str, Any]]) -> int:
    """How many rows it had learned from, each as often as it was seen."""
    return int(_last_progress(records).get("examples_seen", 0))


def was_trained(records: list[dict[str, Any]]) -> bool:
    """Whether training had come to its end, and the final evaluation was made when the records stopped."""
    phases = [record.get("phase") for record in records if record.get("kind") == "phase"]
    last = _last_progress(records)
    return phases[-1:] in (["evaluate"], ["save"]) and last.get("step", 0) >= last.get("steps", float("inf"))


def _last_progress(records: list[dict[str, Any]]) -> dict[str, Any]:
    found = (record for record in reversed(records) if record.get("kind") in ("step", "continued") and "step" in record)
    return next(found, {})


def interruptions(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each time that the run was resumed: when on its own clock, after what, and from which step."""
    found: list[dict[str, Any]] = []
    for record in records:
        if record.get("kind") == "resumed":
            found.append({key: record.get(key) for key in ("seconds", "after", "phase", "last_step")})
        elif record.get("kind") == "continued" and found:
            found[-1] |= {"from_step": record.get("step"), "notes": record.get("notes", [])}
    return found


def step_downs_of(records: list[dict[str, Any]], learned: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The step-downs of all sittings, in order; `learned` are those that the last one tells of."""
    told = [record for record in records if record.get("kind") == "step_down"]
    found = [*(step for step in learned if step not in told), *told]
    return sorted(found, key=lambda step: step.get("seconds", 0.0))
