"""A stage as a process of its own: started, listened to, interrupted, and what it ended with."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from proxtune.errors import DiskFailed, Interrupted, UserError
from proxtune.memory import process
from proxtune.memory.allocator import trim
from proxtune.memory.library_pages import unload_cold_code
from proxtune.pipeline.watchdog import Cause, Patience, Watchdog
from proxtune.runtime.clock import Clock

Record = dict[str, Any]
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
    Raises UserError and Interrupted as the stage did, StageHung where it was ended, StageFailed for anything else.
    """
    trim()
    unload_cold_code()
    others = process.resident_bytes() + _SUPERVISOR_GROWTH_BYTES
    command = [sys.executable, "-m", "proxtune.pipeline.stages", name]
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
        reader = threading.Thread(target=_keep_last_lines, args=(stage.stderr, words), daemon=True)
        reader.start()
        with contextlib.suppress(BrokenPipeError), stage.stdin as pipe:
            pipe.write(json.dumps(job | {"others_bytes": others}))
        end: Record | None = None
        with _forward_interrupts(stage) as interrupts:
            for line in stage.stdout:
                record = _record(line)
                if record is None:
                    continue
                watchdog.on_event(record)
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
        raise UserError(end["message"])
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
