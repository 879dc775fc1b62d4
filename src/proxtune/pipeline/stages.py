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
from proxtune.runtime.clock import Clock
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
    from proxtune.runtime.session import open_session
    from proxtune.storage.run_folder import read_recipe

    folder = Path(job["folder"])
    recipe = read_recipe(folder / "recipe.toml")
    clock = Clock(job["started"], recipe.budget.time)
    gc.disable()  # imports make a million objects and no garbage; looking through them again and again is a second
    session = open_session(recipe, folder, clock, job["others_bytes"], emit)  # before torch: a mistake is told at once
    from proxtune.pipeline.fit import finish, fit

    gc.freeze()
    gc.enable()
    if job.get("finish", False):
        return finish(session)
    return fit(session, plan_only=job.get("plan_only", False), exact=job.get("exact", False))


def _head(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.methods.linear_head import fit_head

    fit_head(Path(job["folder"]))
    return {"peak_bytes": process.peak_bytes() + job["others_bytes"]}


def _baselines(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.pipeline.base_model import read_base_results
    from proxtune.storage.result import read_fit_result
    from proxtune.storage.run_folder import read_recipe
    from proxtune.tasks.base import BaselineRequest
    from proxtune.tasks.registry import find_task

    folder = Path(job["folder"])
    recipe = read_recipe(folder / "recipe.toml")
    if job.get("file") is None:
        asked = BaselineRequest(results=read_fit_result(folder), base_results=read_base_results(folder))
    else:
        asked = BaselineRequest(file=job["file"], results=job.get("results"), base_results=job.get("base_results"))
    found = find_task(str(recipe.task)).baselines(recipe, asked)
    return found | {"peak_bytes": process.peak_bytes() + job["others_bytes"]}


def _report(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.report.html import write_report
    from proxtune.report.model_card import write_model_card

    folder = Path(job["folder"])
    if (folder / "model").is_dir():
        write_model_card(folder, folder / "model")
    return {"report": str(write_report(folder)), "peak_bytes": process.peak_bytes() + job["others_bytes"]}


def _predict(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.pipeline.jobs import PredictJob
    from proxtune.pipeline.predict import predict

    others_bytes = job.pop("others_bytes")
    return predict(PredictJob.from_dict(job), lambda event: emit(event.as_dict()), others_bytes)


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
