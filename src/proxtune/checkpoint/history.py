"""What a journal says of a training that was begun: what it depends on, and what was decided and done so far."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxtune.config.plan import Plan, plan_from_dict
from proxtune.errors import UserError
from proxtune.optim.step_record import StepRecord, unpack

Record = dict[str, Any]
_STEP = b"s"  # before a step's own record; anything else is JSON


@dataclass(slots=True)
class History:
    """`pins` name what the steps depend on. `records` are those of `nno`, from the first.

    `schedule` has by step the number of steps that the clock then allowed, `validations` by step what a judgement found.
    """

    plan: Plan
    selection: Record
    pins: Record
    rank: Callable[[Mapping[str, float]], tuple[float, float]]  # of metrics: larger is better
    records: list[StepRecord] = field(default_factory=list)
    schedule: dict[int, int] = field(default_factory=dict)
    validations: dict[int, Record] = field(default_factory=dict)
    best: tuple[float, float] | None = None  # rank of the best weights that were put on disk

    @property
    def is_new(self) -> bool:
        """Whether nothing has happened yet."""
        return not (self.records or self.schedule or self.validations)

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

    def add_event(self, event: Record) -> None:
        """One event more."""
        if event["kind"] == "schedule":
            self.schedule[event["step"]] = event["to"]
        elif event["kind"] == "judged":
            self.validations[event["step"]] = event
            if event["best"]:
                self.best = self.rank(event)
        elif event["kind"] == "returned":
            self.drop_after(event["to"])
        elif event["kind"] == "pins":
            self.pins = event["pins"]


def first_event(plan: Record, selection: Record, pins: Record) -> bytes:
    """A journal's first record."""
    return encode_event({"kind": "begun", "plan": plan, "settled": selection, "pins": pins})


def encode_event(event: Record) -> bytes:
    """An event as a record of the journal."""
    return json.dumps(event).encode()


def encode_step(record: StepRecord) -> bytes:
    """A step of `nno` as a record of the journal."""
    return _STEP + record.pack()


def read_history(
    path: Path, records: Iterable[bytes], rank: Callable[[Mapping[str, float]], tuple[float, float]]
) -> History:
    """What the records of the journal `path` come to. Raises UserError for some that no proxtune wrote."""
    found: History | None = None
    try:
        for data in records:
            if data.startswith(_STEP) and found is not None:
                found.records += list(unpack(data[len(_STEP) :]))
                continue
            event = json.loads(data)
            if found is None:
                found = History(plan_from_dict(event["plan"]), event["settled"], event["pins"], rank)
            else:
                found.add_event(event)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{path} holds what this version cannot read ({error}); train again into another folder"
        ) from error
    if found is None:
        raise UserError(f"{path} is empty; train again into another folder")
    return found
