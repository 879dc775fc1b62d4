"""Events: each comes back from its line of JSON, with the keys that the run folder's format has."""

import json
from dataclasses import fields

import pytest

from proxtune.storage.events import (
    EVENTS,
    AnswerPiece,
    Continued,
    DataRead,
    DryRunDone,
    Event,
    LapDone,
    Notice,
    Phase,
    PlanChosen,
    Prediction,
    Resumed,
    RowsLeftOut,
    RunInterrupted,
    ScheduleChange,
    SizePhaseBegun,
    StepDown,
    StepEvent,
    StepRejected,
    Validation,
    event_from_dict,
)

EVERY = [
    (Phase(phase="train", seconds=1.5), {"kind": "phase", "phase": "train", "seconds": 1.5}),
    (DataRead(facts={"source": "a.csv", "train_rows": 9}), {"kind": "data", "source": "a.csv", "train_rows": 9}),
    (
        DryRunDone(
            plan="full", allocator="fast", refused="", seconds=2.0, memory_bytes={"train": 5}, terms={"weights": 4}
        ),
        {
            "kind": "rehearsal",
            "plan": "full",
            "allocator": "fast",
            "refused": "",
            "seconds": 2.0,
            "memory_bytes": {"train": 5},
            "terms": {"weights": 4},
        },
    ),
    (
        LapDone(plan="lora r16", steps=7, seconds=(0.0, 9.5), losses=(3.0, 2.5), refused=""),
        {"kind": "race", "plan": "lora r16", "steps": 7, "seconds": [0.0, 9.5], "losses": [3.0, 2.5], "refused": ""},
    ),
    (
        PlanChosen(chosen={"name": "full"}, table=({"name": "full"},)),
        {"kind": "plan", "chosen": {"name": "full"}, "table": [{"name": "full"}]},
    ),
    (
        StepEvent(step=1, steps=9, seconds=0.5, loss=0.7, learning_rate=1e-3, memory_bytes=8, examples_seen=32),
        {
            "kind": "step",
            "step": 1,
            "steps": 9,
            "seconds": 0.5,
            "loss": 0.7,
            "learning_rate": 1e-3,
            "memory_bytes": 8,
            "examples_seen": 32,
        },
    ),
    (
        Validation(step=4, seconds=3.0, metrics={"accuracy": 0.5, "loss": 0.6}, best=True),
        {"kind": "validation", "step": 4, "seconds": 3.0, "accuracy": 0.5, "loss": 0.6, "best": True},
    ),
    (
        StepDown(at_step=2, seconds=1.0, before="micro-batch 8", after="micro-batch 4", why="memory"),
        {
            "kind": "step_down",
            "at_step": 2,
            "seconds": 1.0,
            "from": "micro-batch 8",
            "to": "micro-batch 4",
            "why": "memory",
        },
    ),
    (
        ScheduleChange(step=3, seconds=1.0, before=9, after=7),
        {"kind": "schedule", "step": 3, "seconds": 1.0, "from": 9, "to": 7},
    ),
    (
        SizePhaseBegun(step=5, seconds=2.0, metrics={"loss": 0.4}, allocated_bytes=100, cost=0.1, multiplier=0.2),
        {
            "kind": "held",
            "step": 5,
            "seconds": 2.0,
            "free": {"loss": 0.4},
            "bytes": 100,
            "cost": 0.1,
            "multiplier": 0.2,
        },
    ),
    (
        StepRejected(step=6, seconds=2.0, rows=("a.csv line 3",)),
        {"kind": "rejected", "step": 6, "seconds": 2.0, "rows": ["a.csv line 3"]},
    ),
    (
        RowsLeftOut(step=6, seconds=2.0, rows=("a.csv line 3",)),
        {"kind": "left_out", "step": 6, "seconds": 2.0, "rows": ["a.csv line 3"]},
    ),
    (Notice(words="no room"), {"kind": "warning", "words": "no room"}),
    (
        Resumed(seconds=4.0, after=None, phase="train", last_step=6),
        {"kind": "resumed", "seconds": 4.0, "after": None, "phase": "train", "last_step": 6},
    ),
    (
        Continued(step=6, snapshot=None, notes=("other rows",)),
        {"kind": "continued", "step": 6, "snapshot": None, "notes": ["other rows"]},
    ),
    (RunInterrupted(by="SIGTERM", seconds=5.0), {"kind": "interrupted", "by": "SIGTERM", "seconds": 5.0}),
    (
        Prediction(text="a", label="b", probabilities=(0.25, 0.75)),
        {"kind": "prediction", "text": "a", "label": "b", "probabilities": [0.25, 0.75]},
    ),
    (AnswerPiece(text="one"), {"kind": "piece", "text": "one"}),
]


def test_every_kind_of_event_is_looked_at_here() -> None:
    assert [type(event) for event, _ in EVERY] == list(EVENTS.values())


@pytest.mark.parametrize(("event", "raw"), EVERY, ids=[event.kind for event, _ in EVERY])
def test_an_event_is_a_line_of_json_and_comes_back(event: Event, raw: dict[str, object]) -> None:
    assert event.as_dict() == raw
    assert next(iter(event.as_dict())) == "kind"
    assert event_from_dict(json.loads(json.dumps(raw))) == event


@pytest.mark.parametrize("event", [each for each, _ in EVERY if each._OPTIONAL], ids=lambda event: event.kind)
def test_optional_fields_begin_as_none(event: Event) -> None:
    defaults = {own.name: own.default for own in fields(event)}
    assert all(defaults[name] is None for name in event._OPTIONAL)


def test_an_event_of_another_version_is_told_from_a_damaged_one() -> None:
    with pytest.raises(ValueError, match="unknown event 'party'"):
        event_from_dict({"kind": "party"})
    with pytest.raises(ValueError, match="unknown event None"):
        event_from_dict({})
    with pytest.raises(ValueError, match=r"'phase' that cannot be read: .*seconds"):
        event_from_dict({"kind": "phase", "phase": "train"})
    with pytest.raises(ValueError, match="Phase has no colour"):
        event_from_dict({"kind": "phase", "phase": "train", "seconds": 1.0, "colour": "red"})
