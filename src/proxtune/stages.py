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
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proxtune.clock import Clock
from proxtune.durable import disk_words
from proxtune.errors import DiskFailed, Interrupted, PersonError
from proxtune.memory import measure
from proxtune.memory.allocator import give_back
from proxtune.memory.code import unload_cold_code
from proxtune.memory.kernels import USUAL, keep_kernels
from proxtune.watchdog import Cause, Patience, Watchdog

Record = dict[str, Any]
_SUPERVISOR_GROWTH_BYTES = 3_000_000  # what this process may still take while a stage runs
_LAST_WORDS = 4000
_STATUS = {"done": 0, "person": 2, "disk": 2, "interrupted": 130}  # by outcome; a fault is 1


class StageFailed(Exception):
    """A stage died of a fault of ours, or was killed by a signal; the message has its last words. Exit code 1."""

    def __init__(self, message: str, killed_by: str | None = None) -> None:
        super().__init__(message)
        self.killed_by = killed_by


class StageHung(StageFailed):
    """A stage stood still, or ran on long after its time, and the watchdog ended it."""

    def __init__(self, message: str, cause: Cause) -> None:
        super().__init__(message)
        self.cause: Cause = cause


def run_stage(
    name: str,
    job: Record,
    listen: Callable[[Record], None] | None = None,
    *,
    clock: Clock | None = None,
    patience: Patience | None = None,
) -> Record:
    """Run a stage in a process of its own and return what it ends with; other records go to `listen` as they come.

    A stage that stands still is ended, and where there is a `clock` with a limit one that is far past it (`watchdog.py`).
    Where it came to a result all the same, `watchdog` in it has the cause and words.
    Raises PersonError and Interrupted as the stage did, StageHung where it was ended, StageFailed for anything else.
    """
    give_back()
    unload_cold_code()
    others = measure.resident_bytes() + _SUPERVISOR_GROWTH_BYTES
    command = [sys.executable, "-m", "proxtune.stages", name]
    with (
        Watchdog(clock, patience) as watchdog,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            pass_fds=(job["lock"],)
            if job.get("lock") is not None
            else (),  # held until the last process of the run is gone
        ) as stage,
    ):
        watchdog.watch(stage)
        words: list[str] = []
        assert stage.stdin is not None
        assert stage.stdout is not None
        assert stage.stderr is not None
        reader = threading.Thread(target=_keep_last_words, args=(stage.stderr, words), daemon=True)
        reader.start()
        with contextlib.suppress(BrokenPipeError), stage.stdin as pipe:
            pipe.write(json.dumps(job | {"others_bytes": others}))
        end: Record | None = None
        with _passing_interrupts_to(stage) as interrupts:
            for line in stage.stdout:
                record = _record(line)
                if record is None:
                    continue
                watchdog.hear(record)
                if record.get("kind") == "end":
                    end = record
                elif listen is not None:
                    watchdog.set_busy(True)
                    listen(record)
                    watchdog.set_busy(False)
            status = stage.wait()
        reader.join(timeout=2)
    return _outcome(name, status, end, "".join(words), interrupts, watchdog)


def _outcome(
    name: str, status: int, end: Record | None, words: str, interrupts: list[int], watchdog: Watchdog
) -> Record:
    """What the stage ended with; `interrupts` are the signals that were passed on to it."""
    by = interrupts[0] if interrupts else signal.SIGINT
    is_cut = end is None or end["outcome"] == "interrupted"
    if watchdog.cause is not None and is_cut and (watchdog.killed or not interrupts):
        raise StageHung(watchdog.words(name), watchdog.cause)
    if end is None and interrupts:  # asked twice, it goes without a word
        raise Interrupted("interrupted", by)
    if end is None:
        killed_by = signal.Signals(-status).name if status < 0 else None
        how = f"was killed by {killed_by}" if killed_by else f"ended with status {status}"
        if status == -signal.SIGKILL:
            how += " (the system may be out of memory)"
        raise StageFailed(f"the stage {name!r} {how}\n{words[-_LAST_WORDS:]}".rstrip(), killed_by)
    if end["outcome"] == "disk":
        raise DiskFailed(end["message"])
    if end["outcome"] == "person":
        raise PersonError(end["message"])
    if end["outcome"] == "interrupted":
        raise Interrupted(end["message"], by)
    if end["outcome"] == "fault":
        raise StageFailed(end["message"])
    result: Record = end["result"]
    if result.get("status") == "interrupted":
        result["interrupted_by"] = int(by)
    if watchdog.cause is not None and "status" in result:
        told = watchdog.late_words() if watchdog.cause == "late" else watchdog.words(name)
        result["watchdog"] = {"cause": watchdog.cause, "words": told}
    return result


def _record(line: str) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _keep_last_words(stream: Any, words: list[str]) -> None:
    for line in stream:
        words.append(line)
        del words[:-60]


@contextmanager
def _passing_interrupts_to(stage: subprocess.Popen[str]) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM reach the stage, which ends in good order; this process waits for it. Yields those that came."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def forward(number: int, frame: Any) -> None:
        came.append(number)
        with contextlib.suppress(ProcessLookupError):
            stage.send_signal(signal.SIGINT)

    former = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def main(name: str) -> int:
    """The child's side: run the stage that `name` names on the job that comes by standard input."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: do not outlive the supervisor
    keep_kernels(USUAL)
    job = json.loads(sys.stdin.read())
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the records

    def emit(record: Record) -> None:
        out.write(json.dumps(record) + "\n")
        out.flush()

    try:
        end: Record = {"outcome": "done", "result": _STAGES[name](job, emit)}
    except PersonError as error:
        end = {"outcome": "disk" if isinstance(error, DiskFailed) else "person", "message": str(error)}
    except OSError as error:
        end = _of_the_disk(error) or {"outcome": "fault", "message": traceback.format_exc()}
    except (Interrupted, KeyboardInterrupt) as error:
        end = {"outcome": "interrupted", "message": str(error)}
    except BaseException:
        end = {"outcome": "fault", "message": traceback.format_exc()}
    with contextlib.suppress(BrokenPipeError):
        emit({"kind": "end", **end})
    return _STATUS.get(end["outcome"], 1)


def _of_the_disk(error: OSError) -> Record | None:
    """The end of a stage whose disk is full or failing; None for an error that is our own."""
    words = disk_words(error)
    return {"outcome": "disk", "message": words} if words else None


def _learn(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.clock import Clock
    from proxtune.recipe import read_recipe
    from proxtune.session import open_session

    folder = Path(job["folder"])
    recipe = read_recipe(folder / "recipe.toml")
    clock = Clock(job["started"], recipe.budget.time)
    gc.disable()  # imports make a million objects and no garbage; looking through them again and again is a second
    session = open_session(recipe, folder, clock, job["others_bytes"], emit)  # before torch: a mistake is told at once
    from proxtune.learn import finish, learn

    gc.freeze()
    gc.enable()
    if job.get("finish", False):
        return finish(session)
    return learn(session, plan_only=job.get("plan_only", False), exact=job.get("exact", False))


def _head(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.methods.head import fit_head

    fit_head(Path(job["folder"]))
    return {"peak_bytes": measure.peak_bytes() + job["others_bytes"]}


def _baselines(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.baselines import baseline_scores_on, run_baselines
    from proxtune.recipe import read_recipe
    from proxtune.rows import read_asked, read_split_of
    from proxtune.tasks.labels import sorted_labels

    recipe = read_recipe(Path(job["folder"]) / "recipe.toml")
    if recipe.generates:
        return _answers_compared(job, recipe) | {"peak_bytes": measure.peak_bytes() + job["others_bytes"]}
    split = read_split_of(recipe)
    labels = sorted_labels(split.train)
    if job.get("file") is None:
        scores = run_baselines(split, labels, recipe.seed)
    else:
        scores = baseline_scores_on(split.train, read_asked(recipe, job["file"]), labels)
    return {"baselines": scores, "peak_bytes": measure.peak_bytes() + job["others_bytes"]}


def _answers_compared(job: Record, recipe: Any) -> Record:
    """What was answered in training, or to the rows of `job["file"]`, with scores and with the baselines beside it.

    The rows that were learned from are needed for one baseline alone, and may be gone by the time of another file.
    """
    from proxtune.answered import compared, kept_before
    from proxtune.data import take_pairs
    from proxtune.result import learned_so_far
    from proxtune.rows import read_asked, read_split_of
    from proxtune.task import judged_rows

    if job.get("file") is not None:
        learned, note = None, {}
        if recipe.task == "instruct":
            try:
                learned = read_split_of(recipe).train
            except PersonError as error:
                note = {"note": f"not every baseline: {error}"}
        return compared(recipe.task, learned, read_asked(recipe, job["file"]), job["after"], job["before"]) | note
    folder, split = Path(job["folder"]), read_split_of(recipe)
    learned_to_say = learned_so_far(folder)
    rows = judged_rows(len(split.validation), len(learned_to_say["answers"]))
    judged = take_pairs(split.validation, rows.tolist())
    return compared(recipe.task, split.train, judged, learned_to_say, kept_before(folder))


def _report(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.model_card import write_model_card
    from proxtune.report import write_report

    folder = Path(job["folder"])
    if (folder / "model").is_dir():
        write_model_card(folder, folder / "model")
    return {"report": str(write_report(folder)), "peak_bytes": measure.peak_bytes() + job["others_bytes"]}


def _apply(job: Record, emit: Callable[[Record], None]) -> Record:
    from proxtune.apply import apply

    return apply(job, emit)


_STAGES: dict[str, Callable[[Record, Callable[[Record], None]], Record]] = {
    "learn": _learn,
    "head": _head,
    "baselines": _baselines,
    "report": _report,
    "apply": _apply,
}

if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stderr.flush()
    os._exit(status)  # everything is on disk: taking torch apart object by object is a second of the person's time
