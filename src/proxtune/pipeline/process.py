"""A stage as a process of its own: started, listened to, interrupted, and what it ended with."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from proxtune.errors import DiskFailed, Interrupted, UserError
from proxtune.memory import process
from proxtune.memory.allocator import trim
from proxtune.memory.library_pages import unload_cold_code
from proxtune.pipeline.jobs import Job
from proxtune.pipeline.watchdog import Cause, Patience, Watchdog
from proxtune.runtime.clock import Clock
from proxtune.storage.events import Listener, event_from_dict

_SUPERVISOR_GROWTH_BYTES = 3_000_000  # what this process may still take while a stage runs
_LAST_WORDS = 4000


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

    def explained(self, more: str) -> StageHung:
        """The same with a word on what follows from it."""
        return StageHung(f"{self}. {more[0].upper()}{more[1:]}", self.cause)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """What a stage ended with: its `result`, which signal it was passed, and what the watchdog asked it to stop for."""

    result: Mapping[str, Any]
    interrupted_by: int = signal.SIGINT
    cut_short: StageHung | None = None


def run_stage(
    job: Job,
    listen: Listener | None = None,
    *,
    lock: int | None = None,
    clock: Clock | None = None,
    patience: Patience | None = None,
) -> StageOutcome:
    """Do a job in a process of its own and return what it ends with; events go to `listen` as they come.

    `lock` is the descriptor of the run folder's lock, which is held until the last process of the run is gone. A stage that
    stands still is ended, and where there is a `clock` with a limit one that is far past it (`watchdog.py`); where it came to
    a result all the same, the outcome says so.
    Raises UserError and Interrupted as the stage did, StageHung where it was ended, StageFailed for anything else.
    """
    trim()
    unload_cold_code()
    others = process.resident_bytes() + _SUPERVISOR_GROWTH_BYTES
    command = [
        sys.executable,
        "-P",
        "-m",
        "proxtune.pipeline.stages",
        job.stage,
    ]  # -P: nothing in the working folder is imported
    with (
        Watchdog(clock, patience) as watchdog,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        ) as stage,
    ):
        watchdog.watch(stage)
        words: list[str] = []
        assert stage.stdin is not None
        assert stage.stdout is not None
        assert stage.stderr is not None
        reader = threading.Thread(target=_keep_last_lines, args=(stage.stderr, words), daemon=True)
        reader.start()
        with contextlib.suppress(BrokenPipeError), stage.stdin as pipe:
            pipe.write(json.dumps({"job": job.as_dict(), "others_bytes": others}))
        end: dict[str, Any] | None = None
        with _forward_interrupts(stage) as interrupts:
            for line in stage.stdout:
                record = _record(line)
                if record is None:
                    continue
                if record.get("kind") == "end":
                    end = record
                    continue
                event = event_from_dict(record)
                watchdog.on_event(event)
                if listen is not None:
                    watchdog.set_busy(True)
                    listen(event)
                    watchdog.set_busy(False)
            status = stage.wait()
        reader.join(timeout=2)
    return _outcome(job.stage, status, end, "".join(words), interrupts, watchdog)


def _outcome(
    name: str, status: int, end: dict[str, Any] | None, words: str, interrupts: list[int], watchdog: Watchdog
) -> StageOutcome:
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
    if end["outcome"] == "user":
        raise UserError(end["message"])
    if end["outcome"] == "interrupted":
        raise Interrupted(end["message"], by)
    if end["outcome"] == "fault":
        raise StageFailed(end["message"])
    cut_short = None
    if watchdog.cause is not None:
        told = watchdog.late_words() if watchdog.cause == "late" else watchdog.words(name)
        cut_short = StageHung(told, watchdog.cause)
    return StageOutcome(result=end["result"], interrupted_by=int(by), cut_short=cut_short)


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _keep_last_lines(stream: Any, words: list[str]) -> None:
    for line in stream:
        words.append(line)
        del words[:-60]


@contextmanager
def _forward_interrupts(stage: subprocess.Popen[str]) -> Iterator[list[int]]:
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
