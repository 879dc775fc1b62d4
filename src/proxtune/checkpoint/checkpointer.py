"""Keeping: what a training leaves on disk while it runs, so that it can be resumed from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from proxtune.checkpoint.history import History, JournalEvent, Returned, Validated, encode_event, encode_step
from proxtune.checkpoint.snapshot import has_weights, open_snapshot, restore, save_snapshot, snapshots, weights_of
from proxtune.checkpoint.state import TrainingState
from proxtune.config.plan import Plan
from proxtune.errors import UserError
from proxtune.memory.governor import is_refusal
from proxtune.optim.step_record import StepRecord
from proxtune.storage.events import Continued, Notice
from proxtune.storage.journal import Journal
from proxtune.storage.safetensors_header import BadTensors, Entry

_SHARE = 0.02  # of the time, for snapshots
_BYTES_PER_SECOND = 1e8  # at which a snapshot is taken to be written before one was, with two moments for each weight
_LEAST_SECONDS = 0.02  # that one takes in any case


class Resumable(Protocol):
    """What a way to make steps has beside the weights; `steps.Steps` says what each part is."""

    @property
    def optimizer_state(self) -> Callable[[], Mapping[str, Any]]: ...
    @property
    def allocate_state(self) -> Callable[[Mapping[str, Entry]], Mapping[str, Any]]: ...
    @property
    def replay(self) -> Callable[[list[StepRecord], int], None] | None: ...


class Checkpointer:
    """Keeps one training. State: its journal, what is known of it, when the last snapshot was and what it cost.

    Snapshots come so often that writing one and reading it again, as measured, takes a fiftieth of the time. `notes` are for
    the user, of what differs from what it was when the training began.
    """

    def __init__(
        self, folder: Path, model: Any, journal: Journal, history: History, notes: tuple[str, ...] = ()
    ) -> None:
        self._folder, self._model = folder, model
        self._journal, self._history, self._notes = journal, history, list(notes)
        learning = sum(p.numel() * p.element_size() for p in weights_of(model).values())
        self._cost = _LEAST_SECONDS + 3 * learning / _BYTES_PER_SECOND
        self._next = time.monotonic() + self._cost / _SHARE
        self._warned = False

    @property
    def can_resume(self) -> bool:
        """Whether there is something to continue from."""
        return not self._history.is_new or bool(snapshots(self._folder))

    def resume(self, step_maker: Resumable, state: TrainingState) -> tuple[TrainingState, Continued | None]:
        """Where to continue, with the model and the optimizer brought there: `state` where nothing has happened yet.

        Else it is the last snapshot, and with records of steps all that they say was done since. Raises UserError.
        """
        history = self._history
        # such steps rest on all that was before them
        needs_all_steps = any(record.rule == "nearest" for record in history.records)
        found = None if needs_all_steps else self._last_snapshot(step_maker, state.plan)
        if found is None and history.is_new and not self._notes:
            return state, None
        snapped = found.step if found else None
        resumed = found or state
        if step_maker.replay is not None:
            try:
                step_maker.replay(history.records, resumed.step)
            except ValueError as error:
                raise UserError(f"{self._journal.path}: {error}; train again into another folder") from error
            resumed.step = max(resumed.step, len(history.records))
            resumed.steps = history.steps_as_of(resumed.step)
            resumed.validated_step = max((step for step in history.validations if step <= resumed.step), default=-1)
        if history.best is not None and has_weights(self._folder):
            resumed.best = history.best
        return resumed, Continued(step=resumed.step, snapshot=snapped, notes=tuple(self._notes))

    def past_schedule(self, state: TrainingState) -> int | None:
        """How many steps there are to be as decided after step `state.step` before; None beyond what is known."""
        return (
            self._history.schedule.get(state.step, state.steps) if state.step <= self._history.last_known_step else None
        )

    def past_validation(self, step: int) -> Validated | None:
        """What was found at `step` before."""
        return self._history.validations.get(step)

    def rows_left_out(self, step: int) -> frozenset[int]:
        """The rows that `step`, counted from one, does not learn from."""
        return frozenset().union(*(rows for when, rows in self._history.left_out.items() if when <= step))

    def record_event(self, event: JournalEvent) -> None:
        """An event into the journal, on disk for good. Raises DiskFailed."""
        self._journal.append(encode_event(event))
        self._history.add_event(event)
        self._journal.commit(at_once=True)

    def record_step(self, record: StepRecord) -> None:
        """A step of `nno` into the journal; it counts once `commit` says so. Raises DiskFailed."""
        self._journal.append(encode_step(record))

    def commit(self) -> bool:
        """Whether all that was noted is on disk for good; time to show it. Raises DiskFailed."""
        return self._journal.commit()

    def save_if_due(self, step_maker: Resumable, state: TrainingState) -> list[Notice]:
        """A snapshot when it is time for one and nothing is doubtful; what the user should know of it."""
        return self.save(step_maker, state) if time.monotonic() >= self._next and not state.rejected else []

    def save(self, step_maker: Resumable, state: TrainingState) -> list[Notice]:
        """A snapshot of `state`.

        Where it cannot be written the last one stays, and it is tried again later. Raises DiskFailed.
        """
        began, short_of = time.monotonic(), "disk space"
        try:
            self._journal.commit(at_once=True)
            save_snapshot(self._folder, self._model, step_maker.optimizer_state(), state)
            failed = "the journal waits for room on the disk" if self._journal.is_full else None
        except (OSError, RuntimeError, MemoryError) as error:
            if not isinstance(error, OSError) and not is_refusal(error):
                raise
            why, short_of = (
                (error.strerror, "disk space") if isinstance(error, OSError) else ("memory was refused", "memory")
            )
            failed = f"no snapshot at step {state.step}: {why}; the last one stays"
        now = time.monotonic()
        self._cost = max(_LEAST_SECONDS, now - began) if failed is None else self._cost
        self._next = now + self._cost / _SHARE
        events = []
        if failed is not None and not self._warned:
            events = [Notice(words=f"{failed}. Training continues and will try again; free some {short_of}")]
        elif failed is None and self._warned:
            events = [Notice(words=f"saved a snapshot again, at step {state.step}")]
        self._warned = failed is not None
        return events

    def roll_back(self, step_maker: Resumable, state: TrainingState) -> TrainingState | None:
        """Go back from `state` to the last snapshot, which is made anew with the smaller share; None where there is none."""
        found = self._last_snapshot(step_maker, state.plan)
        if found is None or step_maker.replay is not None:
            return None
        self.record_event(Returned(step=found.step))
        found.rate_share, found.rollbacks, found.best = state.rate_share, state.rollbacks + 1, state.best
        self.save(step_maker, found)
        return found

    def close(self) -> None:
        """Flush the journal and let go of it. Raises DiskFailed."""
        self._journal.close()

    def _last_snapshot(self, step_maker: Resumable, plan: Plan) -> TrainingState | None:
        for path in snapshots(self._folder):
            try:
                header = open_snapshot(path, self._model)
                return restore(path, header, self._model, plan, step_maker.allocate_state)
            except BadTensors as error:
                self._notes.append(f"{error}; it is not used")
        return None
