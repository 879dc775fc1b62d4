"""What a journal says of a training that was begun: what it depends on, and what was decided and done so far."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from proxtune.config.plan import Plan, plan_from_dict
from proxtune.errors import UserError
from proxtune.optim.step_record import StepRecord, unpack
from proxtune.storage.events import Event

Rank = Callable[[Mapping[str, float]], tuple[float, float]]  # of metrics: larger is better
_STEP = b"s"  # before a step's own record; anything else is JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun(Event):
    """The first record: what was planned, and what the steps depend on."""

    kind: ClassVar[str] = "begun"
    _KEYS: ClassVar[Mapping[str, str]] = {"selection": "settled"}
    plan: Mapping[str, Any]
    selection: Mapping[str, Any]
    pins: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescheduled(Event):
    """After `step` the clock allowed so many `steps` in all."""

    kind: ClassVar[str] = "schedule"
    _KEYS: ClassVar[Mapping[str, str]] = {"steps": "to"}
    step: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated(Event):
    """The metrics of the validation rows at `step`, and whether they were the best until then."""

    kind: ClassVar[str] = "judged"
    _SPREAD: ClassVar[str | None] = "metrics"
    step: int
    metrics: Mapping[str, float]
    best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut(Event):
    """From `step` on, counted from one, nothing is learned from these rows, by number: memory refuses them one at a time."""

    kind: ClassVar[str] = "left_out"
    step: int
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned(Event):
    """The training went back to the snapshot of `step`."""

    kind: ClassVar[str] = "returned"
    _KEYS: ClassVar[Mapping[str, str]] = {"step": "to"}
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PinsChanged(Event):
    """What the steps depend on from here on."""

    kind: ClassVar[str] = "pins"
    pins: Mapping[str, Any]


JournalEvent = Begun | Rescheduled | Validated | LeftOut | Returned | PinsChanged
_EVENTS: dict[str, type[JournalEvent]] = {
    event.kind: event for event in (Rescheduled, Validated, LeftOut, Returned, PinsChanged)
}  # but for the first


@dataclass(slots=True)
class History:
    """`pins` name what the steps depend on. `records` are those of `nno`, from the first.

    `schedule` has by step the number of steps that the clock then allowed, `validations` by step what an evaluation found,
    `left_out` by step the rows that nothing was learned from any more.
    """

    plan: Plan
    selection: Mapping[str, Any]
    pins: Mapping[str, Any]
    rank: Rank
    records: list[StepRecord] = field(default_factory=list)
    schedule: dict[int, int] = field(default_factory=dict)
    validations: dict[int, Validated] = field(default_factory=dict)
    left_out: dict[int, frozenset[int]] = field(default_factory=dict)
    best: tuple[float, float] | None = None  # rank of the best weights that were put on disk

    @property
    def is_new(self) -> bool:
        """Whether nothing has happened yet."""
        return not (self.records or self.schedule or self.validations or self.left_out)

    @property
    def last_known_step(self) -> int:
        """The last step of which anything is known: up to here the clock has spoken already."""
        return max(self.schedule.keys() | self.validations.keys(), default=-1)

    def steps_as_of(self, step: int) -> int:
        """How many steps there were to be, as of `step`."""
        changes = [steps for when, steps in sorted(self.schedule.items()) if when <= step]
        return changes[-1] if changes else self.plan.steps

    def drop_after(self, step: int) -> None:
        """What came after `step` does not hold any more: the training went back."""
        del self.records[step:]
        self.schedule = {when: steps for when, steps in self.schedule.items() if when <= step}
        self.validations = {when: found for when, found in self.validations.items() if when <= step}
        self.left_out = {when: rows for when, rows in self.left_out.items() if when <= step}

    def add_event(self, event: JournalEvent) -> None:
        """One event more."""
        match event:
            case Rescheduled():
                self.schedule[event.step] = event.steps
            case Validated():
                self.validations[event.step] = event
                if event.best:
                    self.best = self.rank(event.metrics)
            case LeftOut():
                self.left_out[event.step] = frozenset(map(int, event.rows))
            case Returned():
                self.drop_after(event.step)
            case PinsChanged():
                self.pins = event.pins


def encode_event(event: JournalEvent) -> bytes:
    """An event as a record of the journal."""
    return json.dumps(event.as_dict()).encode()


def encode_step(record: StepRecord) -> bytes:
    """A step of `nno` as a record of the journal."""
    return _STEP + record.pack()


def read_history(path: Path, records: Iterable[bytes], rank: Rank) -> History:
    """What the records of the journal `path` come to. Raises UserError for some that no proxtune wrote."""
    found: History | None = None
    try:
        for data in records:
            if data.startswith(_STEP) and found is not None:
                found.records += list(unpack(data[len(_STEP) :]))
                continue
            raw = json.loads(data)
            if found is None:
                begun = Begun.from_dict(raw)
                found = History(
                    plan=plan_from_dict(dict(begun.plan)), selection=begun.selection, pins=begun.pins, rank=rank
                )
            elif raw["kind"] in _EVENTS:
                found.add_event(_EVENTS[raw["kind"]].from_dict(raw))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} cannot be read by this version ({error}); train again into another folder") from error
    if found is None:
        raise UserError(f"{path} is empty; train again into another folder")
    return found
