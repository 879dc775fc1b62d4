"""What a finished run is asked: predictions, an evaluation, its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from proxtune.errors import UserError
from proxtune.pipeline.process import run_stage
from proxtune.storage.atomic import write_json
from proxtune.storage.event_log import Listen, Record
from proxtune.storage.result import read_result, run_with_model
from proxtune.storage.run_folder import absolute, read_recipe


def predictions(
    folder: str | Path, *, texts: Sequence[str] = (), file: str | None = None, listen: Listen | None = None
) -> list[Record]:
    """For each text (or row of `file`): text, label and probabilities, or the answer, in order; `listen` has each as it comes.

    Of the answer to a single text it has the pieces first: records of the kind "piece", with their `text`.
    """
    place = run_with_model(folder)
    rows: list[Record] = []
    job = {"folder": str(place), "texts": list(texts), "file": None if file is None else absolute(file)}

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
    job = {"folder": str(place), "file": absolute(data), "evaluate": True}
    found = run_stage("apply", job)
    if read_recipe(place / "recipe.toml").generates:
        found = _with_answer_scores(found, job)
    else:
        try:
            found["baselines"] = run_stage("baselines", {"folder": str(place), "file": absolute(data)})["baselines"]
        except UserError as error:  # the rows that the run learned from may be gone by now
            found["baselines"], found["note"] = {}, f"no baselines: {error}"
    result = read_result(place)
    result.setdefault("evaluations", {})[Path(data).name] = found
    write_json(place / "result.json", result)
    run_stage("report", {"folder": str(place)})
    return found


def _with_answer_scores(found: Record, job: Record) -> Record:
    """An evaluation with the untouched model's and the baselines' scores on the same rows."""
    before = run_stage("apply", job | {"untouched": True})
    both = {
        name: {key: one[key] for key in ("answers", "metrics")} for name, one in (("after", found), ("before", before))
    }
    compared = run_stage("baselines", {key: job[key] for key in ("folder", "file")} | both)
    compared.pop("peak_bytes")
    kept = {key: value for key, value in found.items() if key != "answers"}
    return {**kept, **compared, "untouched_memory_bytes": before["memory_bytes"]}


def report(folder: str | Path) -> Path:
    """Write the report of a run again; returns its path."""
    read_result(folder)
    return Path(run_stage("report", {"folder": str(Path(folder).resolve())})["report"])
