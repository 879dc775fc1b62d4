"""Stages: the processes of a run. The supervisor stays small; each stage brings its own imports and takes them along.

A stage reads its job as JSON from standard input and writes events to standard output, a line of JSON each, the last of which is
`{"kind": "end", …}`; what libraries print goes to standard error.
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
from collections.abc import Callable, Mapping
from typing import Any

from proxtune.errors import DiskFailed, Interrupted, UserError
from proxtune.memory import process
from proxtune.memory.kernel_cache import USUAL, limit_kernel_cache
from proxtune.pipeline.jobs import JOBS, BaselinesJob, CheckJob, FitJob, Job, PredictJob, ReportJob
from proxtune.runtime.clock import Clock
from proxtune.storage.atomic import disk_error_message
from proxtune.storage.events import Event

Emit = Callable[[Event], None]
_STATUS = {"done": 0, "user": 2, "disk": 2, "interrupted": 130}  # by outcome; a fault is 1


def main(name: str) -> int:
    """The child's side: do the job that comes by standard input, of the stage that `name` names."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: do not outlive the supervisor
    limit_kernel_cache(USUAL)
    given = json.loads(sys.stdin.read())
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the events

    def write(record: Mapping[str, Any]) -> None:
        out.write(json.dumps(record) + "\n")
        out.flush()

    end = _end_of(JOBS[name].from_dict(given["job"]), lambda event: write(event.as_dict()), given["others_bytes"])
    with contextlib.suppress(BrokenPipeError):
        write({"kind": "end", **end})
    return _STATUS.get(end["outcome"], 1)


def _end_of(job: Job, emit: Emit, others_bytes: int) -> dict[str, Any]:
    """What the job ends with: its result, or what it raised."""
    try:
        return {"outcome": "done", "result": do(job, emit, others_bytes)}
    except UserError as error:
        return {"outcome": "disk" if isinstance(error, DiskFailed) else "user", "message": str(error)}
    except OSError as error:
        message = disk_error_message(error)  # of a disk that is full or failing
        outcome = "fault" if message is None else "disk"
        return {"outcome": outcome, "message": message or traceback.format_exc()}
    except (Interrupted, KeyboardInterrupt) as error:
        return {"outcome": "interrupted", "message": str(error)}
    except BaseException:
        return {"outcome": "fault", "message": traceback.format_exc()}


def do(job: Job, emit: Emit, others_bytes: int) -> dict[str, Any]:
    """Do a job in this process; `others_bytes` is what others of the run hold beside it."""
    match job:
        case FitJob():
            return _fit(job, emit, others_bytes)
        case BaselinesJob():
            return _baselines(job) | _peak(others_bytes)
        case ReportJob():
            return _report(job) | _peak(others_bytes)
        case PredictJob():
            from proxtune.pipeline.predict import predict

            return predict(job, emit, others_bytes)
        case CheckJob():
            from proxtune.runtime.check import check

            return check(job.folder, emit, others_bytes)
        case _:
            raise AssertionError(f"no stage does {type(job).__name__}")


def _peak(others_bytes: int) -> dict[str, int]:
    return {"peak_bytes": process.peak_bytes() + others_bytes}


def _fit(job: FitJob, emit: Emit, others_bytes: int) -> dict[str, Any]:
    from proxtune.runtime.session import open_session
    from proxtune.storage.run_folder import read_recipe

    recipe = read_recipe(job.folder / "recipe.toml")
    clock = Clock(job.started, recipe.budget.time)
    gc.disable()  # imports make a million objects and no garbage; looking through them again and again is a second
    session = open_session(recipe, job.folder, clock, others_bytes, emit)  # before torch: a mistake is told at once
    from proxtune.pipeline.fit import finish, fit

    gc.freeze()
    gc.enable()
    return finish(session) if job.finish else fit(session, plan_only=job.plan_only, exact=job.exact)


def _baselines(job: BaselinesJob) -> dict[str, Any]:
    from proxtune.pipeline.base_model import read_base_results
    from proxtune.storage.result import read_fit_result, read_result
    from proxtune.storage.run_folder import read_recipe
    from proxtune.tasks.base import BaselineRequest
    from proxtune.tasks.describe import with_learned_columns
    from proxtune.tasks.registry import find_task

    recipe = read_recipe(job.folder / "recipe.toml")
    if job.file is None:
        asked = BaselineRequest(results=read_fit_result(job.folder), base_results=read_base_results(job.folder))
    else:
        asked = BaselineRequest(file=job.file, results=job.results, base_results=job.base_results)
        recipe = with_learned_columns(recipe, read_result(job.folder).get("data") or {})
    return find_task(str(recipe.task)).baselines(recipe, asked)


def _report(job: ReportJob) -> dict[str, Any]:
    from proxtune.report.html import write_report
    from proxtune.report.model_card import write_model_card

    if (job.folder / "model").is_dir():
        write_model_card(job.folder, job.folder / "model")
    return {"report": str(write_report(job.folder))}


if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stderr.flush()
    os._exit(status)  # everything is on disk: taking torch apart object by object would take a second
