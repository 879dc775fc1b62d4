"""What happens in a run, as values: frozen dataclasses, each a line of JSON in `metrics.jsonl` and between processes.

An event's `kind` names it in JSON. `as_dict` gives plain values, `event_from_dict` reads them again; the keys are part of the
run folder's format and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from proxtune.storage.serializable import Serializable


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Serializable):
    """Base of all events; `kind` names one in JSON."""

    kind: ClassVar[str] = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, `kind` first."""
        return {"kind": self.kind} | super(Event, self).as_dict()

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`. Raises TypeError for a record that is none of this kind."""
        return super(Event, cls).from_dict({key: value for key, value in raw.items() if key != "kind"})


Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase(Event):
    """A phase of the run begins, `seconds` after the command."""

    kind: ClassVar[str] = "phase"
    phase: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRead(Event):
    """The rows were read and tokenised; `facts` as in `result.json` under `data`."""

    kind: ClassVar[str] = "data"
    _SPREAD: ClassVar[str | None] = "facts"
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunDone(Event):
    """A plan was tried out in a few real steps; `refused` says why it does not fit, or is empty."""

    kind: ClassVar[str] = "rehearsal"
    plan: str
    allocator: str
    refused: str
    seconds: float
    memory_bytes: Mapping[str, int]
    terms: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LapDone(Event):
    """A contender of the race has trained: `losses` of validation rows after `seconds` of training, or why it was `refused`."""

    kind: ClassVar[str] = "race"
    plan: str
    steps: int
    seconds: tuple[float, ...]
    losses: tuple[float, ...]
    refused: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanChosen(Event):
    """The plan is final: the chosen one, and every candidate with its fate."""

    kind: ClassVar[str] = "plan"
    chosen: Mapping[str, Any]
    table: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent(Event):
    """A training step. `rule` and `spread` only where the method looks at neighbours."""

    kind: ClassVar[str] = "step"
    _OPTIONAL: ClassVar[frozenset[str]] = frozenset({"rule", "spread"})
    step: int
    steps: int
    seconds: float
    loss: float
    learning_rate: float
    memory_bytes: int
    examples_seen: int
    rule: str | None = None
    spread: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation(Event):
    """The model at `step` was scored on the validation rows. `stopped`: where the run was interrupted."""

    kind: ClassVar[str] = "validation"
    _OPTIONAL: ClassVar[frozenset[str]] = frozenset({"stopped"})
    _SPREAD: ClassVar[str | None] = "metrics"
    step: int
    seconds: float
    metrics: Mapping[str, float]
    best: bool
    stopped: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDown(Event):
    """The governor made the work smaller instead of letting it die: from what, to what, and why."""

    kind: ClassVar[str] = "step_down"
    _KEYS: ClassVar[Mapping[str, str]] = {"before": "from", "after": "to"}
    _OPTIONAL: ClassVar[frozenset[str]] = frozenset({"memory_bytes"})
    at_step: int
    seconds: float
    before: str
    after: str
    why: str
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleChange(Event):
    """The clock says that fewer or more steps fit than were planned."""

    kind: ClassVar[str] = "schedule"
    _KEYS: ClassVar[Mapping[str, str]] = {"before": "from", "after": "to"}
    step: int
    seconds: float
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SizePhaseBegun(Event):
    """From this step on the model is held to its size; `metrics` are its scores just before."""

    kind: ClassVar[str] = "held"
    _KEYS: ClassVar[Mapping[str, str]] = {"metrics": "free", "allocated_bytes": "bytes"}
    step: int
    seconds: float
    metrics: Mapping[str, float]
    allocated_bytes: int
    cost: float
    multiplier: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRejected(Event):
    """A loss or gradient was not finite: nothing moved. `rows` name the rows at fault, as far as they were found."""

    kind: ClassVar[str] = "rejected"
    step: int
    seconds: float
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsLeftOut(Event):
    """Memory refused these rows even one at a time: from this step on nothing is learned from them."""

    kind: ClassVar[str] = "left_out"
    step: int
    seconds: float
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Event):
    """Something the user should know. Of a stage that the watchdog ended: why, and when."""

    kind: ClassVar[str] = "warning"
    _OPTIONAL: ClassVar[frozenset[str]] = frozenset({"cause", "seconds"})
    words: str
    cause: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Event):
    """The run is resumed: what ended the sitting before (a signal's name, or None), in which phase, after which step."""

    kind: ClassVar[str] = "resumed"
    seconds: float
    after: str | None
    phase: str | None
    last_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued(Event):
    """Training continues from `step`, restored from the snapshot of step `snapshot` (None: from the journal alone)."""

    kind: ClassVar[str] = "continued"
    _OPTIONAL: ClassVar[frozenset[str]] = frozenset({"examples_seen"})
    step: int
    snapshot: int | None
    notes: tuple[str, ...] = ()
    examples_seen: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInterrupted(Event):
    """The run was interrupted by the signal of that name."""

    kind: ClassVar[str] = "interrupted"
    by: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction(Event):
    """What the model makes of a text: a label with the probability of each class, or an answer."""

    kind: ClassVar[str] = "prediction"
    _OPTIONAL: ClassVar[frozenset[str]] = frozenset({"label", "probabilities", "answer"})
    text: str
    label: str | None = None
    probabilities: tuple[float, ...] | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPiece(Event):
    """A piece of a single answer, as its tokens come."""

    kind: ClassVar[str] = "piece"
    text: str


EVENTS: dict[str, type[Event]] = {
    event.kind: event
    for event in (
        Phase, DataRead, DryRunDone, LapDone, PlanChosen, StepEvent, Validation, StepDown, ScheduleChange, SizePhaseBegun,
        StepRejected, RowsLeftOut, Notice, Resumed, Continued, RunInterrupted, Prediction, AnswerPiece,
    )
}  # fmt: skip


def event_from_dict(raw: Mapping[str, Any]) -> Event:
    """The event that a line of JSON holds. Raises ValueError for one that this version does not know."""
    kind = EVENTS.get(str(raw.get("kind")))
    if kind is None:
        raise ValueError(f"unknown event {raw.get('kind')!r}")
    try:
        return kind.from_dict(raw)
    except TypeError as error:
        raise ValueError(f"an event of kind {kind.kind!r} that cannot be read: {error}") from error
