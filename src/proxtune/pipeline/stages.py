"""Stages: the processes of a run. The supervisor stays small; each stage brings its own imports and takes them along.

A stage speaks JSON lines on its standard output, the last of which is `{"kind": "end", …}`; people's words go to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proxtune.errors import DiskFailed, Interrupted, UserError
from proxtune.memory import process
from proxtune.memory.kernel_cache import USUAL, limit_kernel_cache
from proxtune.storage.atomic import disk_error_message

Record = dict[str, Any]
_STATUS = {"done": 0, "person": 2, "disk": 2, "interrupted": 130}  # by outcome; a fault is 1


def main(name: str) -> int:
    """The child's side: run the stage that `name` names on the job that comes by standard input."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: do not outlive the supervisor
    limit_kernel_cache(USUAL)
    job = json.loads(sys.stdin.read())
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the records

    def emit(record: Record) -> None:
        out.write(json.dumps(record) + "\n")
        out.flush()

    try:
        end: Record = {"outcome": "done", "result": _STAGES[name](job, emit)}
    except UserError as error:
        end = {"outcome": "disk" if isinstance(error, DiskFailed) else "person", "message": str(error)}
    except OSError as error:
        end = _disk_outcome(error) or {"outcome": "fault", "message": traceback.format_exc()}
    except (Interrupted, KeyboardInterrupt) as error:
        end = {"outcome": "interrupted", "message": str(error)}
    except BaseException:
        end = {"outcome": "fault", "message": traceback.format_exc()}
    with contextlib.suppress(BrokenPipeError):
        emit({"kind": "end", **end})
    return _STATUS.get(end["outcome"], 1)


def _disk_outcome(error: OSError) -> Record | None:
    """The end of a stage whose disk is full or failing; None for an error that is our own."""
    words = disk_error_message(error)
    return {"outcome": "disk", "message": words} if words else None


def _fit(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.runtime.clock import Clock
    from proxtune.runtime.session import open_session
    from proxtune.storage.run_folder import read_recipe

    folder = Path(job["folder"])
    recipe = read_recipe(folder / "recipe.toml")
    clock = Clock(job["started"], recipe.budget.time)
    gc.disable()  # imports make a million objects and no garbage; looking through them again and again is a second
    session = open_session(recipe, folder, clock, job["others_bytes"], emit)  # before torch: a mistake is told at once
    from proxtune.pipeline.fit import fit

    gc.freeze()
    gc.enable()
    return fit(session, plan_only=job.get("plan_only", False), exact=job.get("exact", False))


def _head(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.methods.linear_head import fit_head

    fit_head(Path(job["folder"]))
    return {"peak_bytes": process.peak_bytes() + job["others_bytes"]}


def _baselines(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.storage.run_folder import read_recipe
    from proxtune.tasks.classification.baselines import baseline_scores_on, run_baselines
    from proxtune.tasks.classification.reader import sorted_labels
    from proxtune.tasks.loading import read_evaluation_rows, read_split_of

    recipe = read_recipe(Path(job["folder"]) / "recipe.toml")
    if recipe.generates:
        return _compare_answers(job, recipe) | {"peak_bytes": process.peak_bytes() + job["others_bytes"]}
    split = read_split_of(recipe)
    labels = sorted_labels(split.train)
    if job.get("file") is None:
        scores = run_baselines(split, labels, recipe.seed)
    else:
        scores = baseline_scores_on(split.train, read_evaluation_rows(recipe, job["file"]), labels)
    return {"baselines": scores, "peak_bytes": process.peak_bytes() + job["others_bytes"]}


def _compare_answers(job: Record, recipe: Any) -> Record:
    """What was answered in training, or to the rows of `job["file"]`, with scores and with the baselines beside it.

    The rows that were learned from are needed for one baseline alone, and may be gone by the time of another file.
    """
    from proxtune.data.split import select_pairs
    from proxtune.storage.result import read_fit_result
    from proxtune.tasks.base import evenly_spaced_rows
    from proxtune.tasks.generation.samples import compare_answers, load_base_answers
    from proxtune.tasks.loading import read_evaluation_rows, read_split_of

    if job.get("file") is not None:
        learned, note = None, {}
        if recipe.task == "instruct":
            try:
                learned = read_split_of(recipe).train
            except UserError as error:
                note = {"note": f"not every baseline: {error}"}
        return compare_answers(recipe.task, learned, read_evaluation_rows(recipe, job["file"]), job["after"], job["before"]) | note
    folder, split = Path(job["folder"]), read_split_of(recipe)
    fit_result = read_fit_result(folder)
    rows = evenly_spaced_rows(len(split.validation), len(fit_result["answers"]))
    validation = select_pairs(split.validation, rows.tolist())
    return compare_answers(recipe.task, split.train, validation, fit_result, load_base_answers(folder))


def _report(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.report.html import write_report
    from proxtune.report.model_card import write_model_card

    folder = Path(job["folder"])
    if (folder / "model").is_dir():
        write_model_card(folder, folder / "model")
    return {"report": str(write_report(folder)), "peak_bytes": process.peak_bytes() + job["others_bytes"]}


def _predict(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.pipeline.predict import predict

    return predict(job, emit)


_STAGES: dict[str, Callable[[Record, Callable[[Record], None]], Record]] = {
    "learn": _fit,
    "head": _head,
    "baselines": _baselines,
    "report": _report,
    "apply": _predict,
}

if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stderr.flush()
    os._exit(status)  # everything is on disk: taking torch apart object by object is a second of the person's time
