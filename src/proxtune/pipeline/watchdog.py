"""The watchdog: ends a stage that stands still, or that is long past its time. It lives in the supervisor; no torch here.

A stage stands still when none of its processes used the CPU, read or wrote, and it sent no record: it is stopped, deadlocked, or
waits for a child that is. Linux tells by /proc; elsewhere only the time is watched. What waits for a disk, as a long fsync does,
for its turn on a busy machine or in a debugger does not stand still. Waiting for a GPU does not either: that spins on the CPU.

First a stage is asked to stop (SIGINT: a training ends after its step, is evaluated and saved), then its whole session is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from proxtune.config.budget import format_seconds
from proxtune.runtime.clock import Clock
from proxtune.storage.events import Continued, Event, Phase, StepEvent

Cause = Literal["stuck", "late"]
_PROC = "/proc"
_EXCUSED = (
    "D",
    "R",
    "t",
)  # states of a thread: in the disk's hands, as SIGKILL would wait for too; in a queue; debugged
_CPU_SHOWS_SECONDS = 0.1  # of CPU time that /proc must show of a process, or it cannot be trusted to


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a stage is waited for: the one place for these numbers.

    Standing still is counted in polls and not by the clock: while the supervisor itself is suspended (Ctrl-Z, a laptop that
    sleeps) nobody watches, and a healthy stage may wait for a full pipe.
    """

    poll_seconds: float = 1.0
    stuck_polls: int = 60  # without a sign of life, then it is asked to stop
    obey_polls: int = 5  # more without one, then it is killed
    least_grace_seconds: float = 60.0  # past the time, then it is asked to stop; as much again, then it is killed
    grace_share: float = 0.25  # of the time, where that is more

    def grace_seconds(self, limit_seconds: float) -> float:
        """How far past a limit a stage may be before it is asked to stop, and from then on before it is killed.

        As much again, since ending in good order means to evaluate and to save: a kill on the way would waste what it took.
        """
        return max(self.least_grace_seconds, self.grace_share * limit_seconds)


class Watchdog:
    """Watches one stage from a thread. State: the stage, its last records, and what was done about it.

    `clock` is that of the run, where it has a time budget. A stage that begins late has the grace from its own beginning.
    """

    def __init__(self, clock: Clock | None = None, patience: Patience | None = None) -> None:
        self.cause: Cause | None = None  # why the stage was asked to stop, if it was
        self.killed = False
        self._patience = patience or Patience()
        self._limit = None if clock is None else clock.limit_seconds
        self._deadline = self._late_at = float("inf")
        self._grace = 0.0
        if clock is not None and clock.limit_seconds is not None:
            self._grace = self._patience.grace_seconds(clock.limit_seconds)
            self._deadline = clock.started + clock.limit_seconds
            self._late_at = max(self._deadline, time.monotonic()) + self._grace
        self._stage: subprocess.Popen[str] | None = None
        self._activity: Activity | None = None
        self._still = self._late = 0  # polls: without a sign of life, and since it was asked to stop for being late
        self._last_sign = time.monotonic()
        self._seconds = 0.0  # of standing still, or past the time, when it was ended
        self._heard = self._busy = False
        self._phase: str | None = None
        self._step: int | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def watch(self, stage: subprocess.Popen[str]) -> None:
        """Begin to watch `stage`, which leads a session of its own."""
        self._stage, self._activity = stage, Activity(stage.pid)
        self._last_sign = time.monotonic()
        self._thread.start()

    def on_event(self, event: Event) -> None:
        """An event of the stage: a sign of life, and what it is doing."""
        self._heard = True
        if isinstance(event, Phase):
            self._phase, self._step = event.phase, None
        elif isinstance(event, StepEvent | Continued):
            self._step = event.step

    def set_busy(self, busy: bool) -> None:
        """Whether the supervisor is busy itself: the stage may then wait for it."""
        self._busy = busy
        self._heard = True

    def poll(self) -> None:
        """One look at the stage, and what follows from it."""
        assert self._activity is not None, "there is a stage to watch"
        moved, now = self._activity.has_moved(), time.monotonic()
        if moved or self._heard or self._busy:
            self._heard, self._still, self._last_sign = False, 0, now
        else:
            self._still += 1
        if self._late == 0 and now >= self._late_at:
            self._late = 1
            self._ask_to_stop("late")
        elif self._late and not self._busy:
            self._late += 1
        patience = self._patience
        if self._still == patience.stuck_polls:
            self._ask_to_stop("stuck")
        elif self._still >= patience.stuck_polls + patience.obey_polls:
            self._kill("stuck")
        elif self._late > self._grace / patience.poll_seconds:
            self._kill("late")

    def words(self, name: str) -> str:
        """What was wrong with the stage, and what it was doing."""
        where = f" in the phase {self._phase!r}" if self._phase else ""
        where += f" after step {self._step}" if self._step is not None else ""
        how = "was killed" if self.killed else "was stopped"
        if self.cause == "stuck":
            what = "no CPU time used, nothing read or written, no message"
            return f"the stage {name!r} stood still for {self._seconds:.0f} s{where} ({what}) and {how}"
        limit = format_seconds(self._limit or 0.0)
        return (
            f"the stage {name!r} was still running{where} {self._seconds:.0f} s after the {limit} of --time, and {how}"
        )

    def late_words(self) -> str:
        """The same of a stage that ended in good order when it was asked."""
        limit = format_seconds(self._limit or 0.0)
        return (
            f"the {limit} of --time were over {max(0.0, time.monotonic() - self._deadline):.0f} s ago: "
            "training was stopped, and the best model until then is kept"
        )

    def _watch(self) -> None:
        while not self._over.wait(self._patience.poll_seconds):
            self.poll()

    def _note(self, cause: Cause) -> None:
        since = self._last_sign if cause == "stuck" else self._deadline
        self.cause, self._seconds = cause, time.monotonic() - since

    def _ask_to_stop(self, cause: Cause) -> None:
        self._note(cause)
        assert self._stage is not None
        with contextlib.suppress(OSError):
            self._stage.send_signal(signal.SIGINT)

    def _kill(self, cause: Cause) -> None:
        """The whole session: what stayed behind would hold the run's lock and the pipe. Again at each poll until it is gone."""
        self._note(cause)
        self.killed = True
        assert self._stage is not None
        for pid in session_of(self._stage.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):  # where there is no /proc
            os.killpg(self._stage.pid, signal.SIGKILL)


class Activity:
    """What the processes of a session do, by /proc. State: what they had done at the last look.

    The leader alone is looked at while it works; the others, for which all of /proc is read, when it does nothing.
    """

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._own: tuple[int, ...] | None = None
        self._others: dict[int, tuple[int, ...] | None] | None = None
        self._tells = _tells_cpu_time()

    def has_moved(self) -> bool:
        """Whether any of them did anything since the last look; True also where the system does not tell."""
        if not self._tells:
            return True
        own = _done(self._leader)
        if own != self._own:
            self._own, self._others = own, None
            return True
        found = {pid: _done(pid) for pid in session_of(self._leader)}
        moved = found != self._others
        self._others = found
        return moved or any(state in _EXCUSED for pid in found for state in _thread_states(pid))


def session_of(leader: int) -> list[int]:
    """The processes of the session that `leader` leads or led; none where there is no /proc."""
    try:
        pids = [int(name) for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208 (each second: no Path for each)
    except OSError:
        return []
    return [pid for pid in pids if (fields := _stat(f"{_PROC}/{pid}/stat")) is not None and int(fields[3]) == leader]


def _done(pid: int) -> tuple[int, ...] | None:
    """Page faults that read, CPU time of the process and of children that ended, bytes read and written; None once it is gone."""
    fields = _stat(f"{_PROC}/{pid}/stat")
    if fields is None:
        return None
    moved = [int(fields[9]), *(int(value) for value in fields[11:15])]
    with contextlib.suppress(OSError, ValueError), open(f"{_PROC}/{pid}/io", encoding="ascii") as lines:
        moved += [
            int(line.partition(":")[2]) for line in lines if line.startswith(("rchar", "wchar", "read_", "write_"))
        ]
    return tuple(moved)


def _thread_states(pid: int) -> list[str]:
    try:
        threads = os.listdir(f"{_PROC}/{pid}/task")  # noqa: PTH208 (likewise)
    except OSError:
        return []
    return [fields[0] for thread in threads if (fields := _stat(f"{_PROC}/{pid}/task/{thread}/stat")) is not None]


def _stat(path: str) -> list[str] | None:
    """The fields after the name of a process, of which the state is the first; None where there is none such."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return fields if len(fields) > 14 else None


def _tells_cpu_time() -> bool:
    """Whether /proc is there and counts CPU time, as some sandboxes' does not."""
    fields = _stat(f"{_PROC}/self/stat")
    return fields is not None and (time.process_time() < _CPU_SHOWS_SECONDS or int(fields[11]) + int(fields[12]) > 0)
