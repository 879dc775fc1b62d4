"""What a finished run is asked: predictions, an evaluation, its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from proxtune.pipeline.process import run_stage
from proxtune.storage.atomic import write_json
from proxtune.storage.event_log import Listen, Record
from proxtune.storage.result import read_result, run_with_model
from proxtune.storage.run_folder import absolute, read_recipe
from proxtune.tasks.registry import find_task


def predictions(
    folder: str | Path, *, texts: Sequence[str] = (), file: str | None = None, listen: Listen | None = None
) -> list[Record]:
    """For each text (or row of `file`): text, label and probabilities, or the answer, in order; `listen` has each as it comes.

    Of the answer to a single text it has the pieces first: records of the kind "piece", with their `text`.
    """
    place = run_with_model(folder)
    rows: list[Record] = []
    job: Record = {"folder": str(place), "texts": list(texts), "file": None if file is None else absolute(file)}

    def on_event(record: Record) -> None:
        if record.get("kind") == "prediction":
            rows.append(record)
        if listen is not None and record.get("kind") in ("prediction", "piece"):
            listen(record)

    run_stage("apply", job, on_event)
    return rows


def evaluate(folder: str | Path, data: str) -> Record:
    """Metrics on the rows of `data`, with the baselines' beside them; kept in the run's result and report."""
    place = run_with_model(folder)
    task = find_task(str(read_recipe(place / "recipe.toml").task))
    job = {"folder": str(place), "file": absolute(data), "evaluate": True}
    found = run_stage("apply", job)
    base = run_stage("apply", job | {"base": True}) if task.traits.compares_base_model else None
    wanted = {"folder": str(place), "file": absolute(data), "results": found, "base_results": base}
    compared = run_stage("baselines", wanted)
    compared.pop("peak_bytes")
    found.pop("answers", None)  # the samples among what was compared show enough of them
    found |= compared
    if base is not None:
        found["untouched_memory_bytes"] = base["memory_bytes"]
    result = read_result(place)
    result.setdefault("evaluations", {})[Path(data).name] = found
    write_json(place / "result.json", result)
    run_stage("report", {"folder": str(place)})
    return found


def report(folder: str | Path) -> Path:
    """Write the report of a run again; returns its path."""
    read_result(folder)
    return Path(run_stage("report", {"folder": str(Path(folder).resolve())})["report"])
