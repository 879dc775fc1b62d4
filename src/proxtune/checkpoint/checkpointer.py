"""Keeping: what a training leaves on disk while it runs, so that it can be gone on with from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from proxtune.checkpoint.history import Known, packed_event, packed_step
from proxtune.checkpoint.snapshot import has_weights, open_snapshot, restore, save_snapshot, snapshots, weights_of
from proxtune.checkpoint.state import Progress
from proxtune.config.plan import Plan
from proxtune.errors import PersonError
from proxtune.optim.step_record import StepRecord
from proxtune.storage.journal import Journal
from proxtune.storage.safetensors_header import BadTensors, Entry

Record = dict[str, Any]
_SHARE = 0.02  # of the time, for snapshots
_BYTES_PER_SECOND = 1e8  # at which a snapshot is taken to be written before one was, with two moments for each weight
_LEAST_SECONDS = 0.02  # that one takes in any case


class Resumable(Protocol):
    """What a way to make steps has beside the weights; `steps.Steps` says what each part is."""

    @property
    def beside(self) -> Callable[[], Mapping[str, Any]]: ...
    @property
    def make(self) -> Callable[[Mapping[str, Entry]], Mapping[str, Any]]: ...
    @property
    def again(self) -> Callable[[list[StepRecord], int], None] | None: ...


class Keeper:
    """Keeps one training. State: its journal, what is known of it, when the last snapshot was and what it cost.

    Snapshots come so often that writing one and reading it again, as measured, takes a fiftieth of the time. `notes` are for
    the person, of what is otherwise than when the training began.
    """

    def __init__(self, folder: Path, model: Any, journal: Journal, known: Known, notes: tuple[str, ...] = ()) -> None:
        self._folder, self._model = folder, model
        self._journal, self._known, self._notes = journal, known, list(notes)
        learning = sum(p.numel() * p.element_size() for p in weights_of(model).values())
        self._cost = _LEAST_SECONDS + 3 * learning / _BYTES_PER_SECOND
        self._next = time.monotonic() + self._cost / _SHARE
        self._warned = False

    @property
    def goes_on(self) -> bool:
        """Whether there is something to go on from."""
        return not self._known.is_new or bool(snapshots(self._folder))

    def begin(self, steps: Resumable, at: Progress) -> tuple[Progress, list[Record]]:
        """Where to go on, with the model and the optimizer brought there: `at` where nothing has happened yet.

        Else it is the last snapshot, and with records of steps all that they say was done since. Raises PersonError.
        """
        known = self._known
        whole = any(record.rule == "nearest" for record in known.records)  # such steps rest on all that was before them
        found = None if whole else self._last_snapshot(steps, at.plan)
        if found is None and known.is_new and not self._notes:
            return at, []
        snapped = found.step if found else None
        begun = found or at
        if steps.again is not None:
            try:
                steps.again(known.records, begun.step)
            except ValueError as error:
                raise PersonError(f"{self._journal.path}: {error}; train again into another folder") from error
            begun.step = max(begun.step, len(known.records))
            begun.steps = known.steps(begun.step)
            begun.judged = max((step for step in known.judged if step <= begun.step), default=-1)
        if known.best is not None and has_weights(self._folder):
            begun.best = known.best
        return begun, [{"kind": "continued", "step": begun.step, "snapshot": snapped, "notes": self._notes}]

    def decided(self, at: Progress) -> int | None:
        """How many steps there are to be as decided after step `at.step` before; None beyond what is known."""
        return self._known.schedule.get(at.step, at.steps) if at.step <= self._known.until else None

    def judgement(self, step: int) -> Record | None:
        """What was found at `step` before."""
        return self._known.judged.get(step)

    def note(self, event: Record) -> None:
        """An event into the journal, on disk for good. Raises DiskFailed."""
        self._journal.append(packed_event(event))
        self._known.take_in(event)
        self._journal.commit(at_once=True)

    def note_step(self, record: StepRecord) -> None:
        """A step of `nno` into the journal; it counts once `commit` says so. Raises DiskFailed."""
        self._journal.append(packed_step(record))

    def commit(self) -> bool:
        """Whether all that was noted is on disk for good; time to show it. Raises DiskFailed."""
        return self._journal.commit()

    def save_if_due(self, steps: Resumable, at: Progress) -> list[Record]:
        """A snapshot when it is time for one and nothing is doubtful; what the person should know of it."""
        return self.save(steps, at) if time.monotonic() >= self._next and not at.rejected else []

    def save(self, steps: Resumable, at: Progress) -> list[Record]:
        """A snapshot of `at`. Where it cannot be written the last one stays, and it is tried again later. Raises DiskFailed."""
        began = time.monotonic()
        try:
            self._journal.commit(at_once=True)
            save_snapshot(self._folder, self._model, steps.beside(), at)
            failed = "the journal waits for room on the disk" if self._journal.is_full else None
        except OSError as error:
            failed = f"no snapshot at step {at.step}: {error.strerror}; the last one stays"
        now = time.monotonic()
        self._cost = max(_LEAST_SECONDS, now - began) if failed is None else self._cost
        self._next = now + self._cost / _SHARE
        told = []
        if failed is not None and not self._warned:
            told = [warning(f"{failed}. Training goes on; make room, it is tried again")]
        elif failed is None and self._warned:
            told = [warning(f"a snapshot is on disk again, of step {at.step}")]
        self._warned = failed is not None
        return told

    def back(self, steps: Resumable, at: Progress) -> Progress | None:
        """Go back from `at` to the last snapshot, which is made anew with the smaller share; None where there is none."""
        found = self._last_snapshot(steps, at.plan)
        if found is None or steps.again is not None:
            return None
        self.note({"kind": "returned", "to": found.step})
        found.rate_share, found.returns, found.best = at.rate_share, at.returns + 1, at.best
        self.save(steps, found)
        return found

    def close(self) -> None:
        """Flush the journal and let go of it. Raises DiskFailed."""
        self._journal.close()

    def _last_snapshot(self, steps: Resumable, plan: Plan) -> Progress | None:
        for path in snapshots(self._folder):
            try:
                header = open_snapshot(path, self._model)
                return restore(path, header, self._model, plan, steps.make)
            except BadTensors as error:
                self._notes.append(f"{error}; it is not used")
        return None


def warning(words: str) -> Record:
    """A record that tells the person something."""
    return {"kind": "warning", "words": words}
