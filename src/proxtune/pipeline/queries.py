"""What a finished run is asked: predictions, an evaluation, its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxtune.data.values import is_blank
from proxtune.errors import UserError
from proxtune.pipeline.jobs import BaselinesJob, PredictJob, ReportJob
from proxtune.pipeline.process import run_stage
from proxtune.storage.atomic import write_json
from proxtune.storage.events import AnswerPiece, Event, Listener, Notice, Prediction
from proxtune.storage.result import read_result, run_with_model
from proxtune.storage.run_folder import absolute, read_recipe
from proxtune.tasks.registry import find_task


def predictions(
    folder: str | Path,
    *,
    texts: Sequence[str] = (),
    file: str | None = None,
    listen: Listener | None = None,
    keep: bool = True,
) -> list[Prediction]:
    """A prediction for each text, or row of `file`, in order; `listen` has each as it comes.

    Of the answer to a single text it has the pieces first, as `AnswerPiece`; and as `Notice` what is to be said of the rows.
    Without `keep` none is returned: the probabilities of thousands of classes take a lot. Raises UserError for a blank text,
    of which a model would say something all the same.
    """
    for number, text in enumerate(texts, start=1):
        if is_blank(text):
            raise UserError(f"text {number} of {len(texts)} is blank; leave it out, or give it some words")
    place = run_with_model(folder)
    found: list[Prediction] = []

    def on_event(event: Event) -> None:
        if keep and isinstance(event, Prediction):
            found.append(event)
        if listen is not None and isinstance(event, Prediction | AnswerPiece | Notice):
            listen(event)

    run_stage(PredictJob(folder=place, texts=tuple(texts), file=None if file is None else absolute(file)), on_event)
    return found


def evaluate(folder: str | Path, data: str) -> dict[str, Any]:
    """Metrics on the rows of `data`, with the baselines' beside them; kept in the run's result and report."""
    place, file = run_with_model(folder), absolute(data)
    task = find_task(str(read_recipe(place / "recipe.toml").task))
    found = dict(run_stage(PredictJob(folder=place, file=file, evaluate=True)).result)
    base = None
    if task.traits.compares_base_model:
        base = run_stage(PredictJob(folder=place, file=file, evaluate=True, base=True)).result
    compared = dict(run_stage(BaselinesJob(folder=place, file=file, results=found, base_results=base)).result)
    compared.pop("peak_bytes")
    found.pop("answers", None)  # the samples among what was compared show enough of them
    found |= compared
    if base is not None:
        found["untouched_memory_bytes"] = base["memory_bytes"]
    result = read_result(place)
    result.setdefault("evaluations", {})[Path(data).name] = found
    write_json(place / "result.json", result)
    run_stage(ReportJob(folder=place))
    return found


def report(folder: str | Path) -> Path:
    """Write the report of a run again; returns its path."""
    read_result(folder)
    return Path(run_stage(ReportJob(folder=Path(folder).resolve())).result["report"])
