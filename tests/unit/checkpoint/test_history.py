"""What a journal says: its events as JSON under the keys that they always had, and what they come to."""

import json

import pytest

from proxtune.checkpoint.history import (
    Begun,
    History,
    LeftOut,
    PinsChanged,
    Rescheduled,
    Returned,
    Validated,
    encode_event,
    encode_step,
    read_history,
)
from proxtune.config.plan import plan_as_dict
from proxtune.errors import UserError
from proxtune.optim.step_record import StepRecord
from proxtune.tasks.classification.objective import LABELS
from proxtune.tasks.generation.objective import ANSWERS
from support.trainings import PLAN

BEGUN = Begun(plan=plan_as_dict(PLAN), selection={"plan": "full"}, pins={"seed": 0})
EVENTS = [
    (Rescheduled(step=3, steps=80), {"kind": "schedule", "step": 3, "to": 80}),
    (
        Validated(step=4, metrics={"accuracy": 0.75, "loss": 0.5}, best=True),
        {"kind": "judged", "step": 4, "accuracy": 0.75, "loss": 0.5, "best": True},
    ),
    (LeftOut(step=5, rows=(7, 9)), {"kind": "left_out", "step": 5, "rows": [7, 9]}),
    (Returned(step=6), {"kind": "returned", "to": 6}),
    (PinsChanged(pins={"seed": 1}), {"kind": "pins", "pins": {"seed": 1}}),
]


def step(number, rule="estimate"):
    return StepRecord(step=number, seed=1, batch=2, spread=0.5, rate=0.25, rule=rule, centre=1.0, losses=(1.0, 2.0))


def history_of(*events):
    return read_history("journal.bin", [encode_event(BEGUN), *map(encode_event, events)], LABELS.rank)


@pytest.mark.parametrize(("event", "raw"), EVENTS, ids=lambda each: getattr(each, "kind", ""))
def test_an_event_is_json_with_the_keys_that_it_always_had(event, raw):
    assert json.loads(encode_event(event)) == raw
    assert type(event).from_dict(raw) == event


def test_the_first_event_says_what_was_planned_and_what_the_steps_depend_on():
    raw = json.loads(encode_event(BEGUN))
    assert raw.keys() == {"kind", "plan", "settled", "pins"}
    assert raw["kind"] == "begun"
    history = history_of()
    assert (history.plan, history.selection, history.pins) == (PLAN, {"plan": "full"}, {"seed": 0})
    assert history.is_new
    assert history.last_known_step == -1


def test_what_was_decided_is_known_by_step():
    history = history_of(Rescheduled(step=3, steps=80), Rescheduled(step=5, steps=70), EVENTS[1][0])
    assert not history.is_new
    assert [history.steps_as_of(number) for number in (2, 3, 4, 5, 9)] == [PLAN.steps, 80, 80, 70, 70]
    assert history.validations[4].metrics == {"accuracy": 0.75, "loss": 0.5}
    assert history.last_known_step == 5
    assert history.best == (0.75, -0.5)


def test_a_point_that_was_not_the_best_does_not_count_as_it():
    events = [EVENTS[1][0], Validated(step=8, metrics={"accuracy": 0.25, "loss": 2.0}, best=False)]
    assert history_of(*events).best == (0.75, -0.5)


def test_where_it_went_back_what_came_after_does_not_hold_any_more():
    history = history_of(Rescheduled(step=3, steps=80), EVENTS[1][0], Returned(step=3))
    assert history.schedule == {3: 80}
    assert history.validations == {}
    assert history.best == (0.75, -0.5), "its weights are on disk still"


def test_rows_that_were_left_out_are_known_by_step_until_it_went_back():
    early, late = LeftOut(step=2, rows=(7,)), LeftOut(step=5, rows=(9, 11))
    history = history_of(early, late)
    assert not history.is_new
    assert history.left_out == {2: {7}, 5: {9, 11}}
    assert history_of(early, late, Returned(step=4)).left_out == {2: {7}}


def test_the_steps_of_nno_are_there_in_their_order_and_go_back_too():
    records = [encode_event(BEGUN), *(encode_step(step(number)) for number in range(5)), encode_event(Returned(step=3))]
    history = read_history("journal.bin", records, LABELS.rank)
    assert history.records == [step(0), step(1), step(2)]
    assert not history.is_new


def test_events_of_a_later_version_are_passed_over():
    records = [encode_event(BEGUN), b'{"kind": "party", "guests": 9}', encode_event(Rescheduled(step=3, steps=80))]
    assert read_history("journal.bin", records, LABELS.rank).schedule == {3: 80}


@pytest.mark.parametrize(
    "records",
    [
        [b"not json"], [b"[]"], [b"{}"], [b'{"kind": "begun", "plan": {}, "settled": {}, "pins": {}}'],
        [encode_event(BEGUN), b'{"kind": "schedule", "step": 3}'],
        [encode_event(BEGUN), b'{"kind": "left_out", "step": 3, "rows": ["all"]}'], [encode_event(BEGUN), b"s" + bytes(39)],
        [encode_event(BEGUN), encode_event(Validated(step=3, metrics={"loss": -1e9}, best=True))],
        [encode_event(BEGUN), b'{"kind": "judged", "step": 3, "best": true, "loss": "low"}'], [b"[" * 100_000],
    ],
)  # fmt: skip
def test_what_no_proxtune_wrote_is_refused_in_a_line(records):
    with pytest.raises(UserError, match=r"journal\.bin .*train again into another folder") as caught:
        read_history("journal.bin", records, LABELS.rank)
    assert "\n" not in str(caught.value)


def test_an_empty_journal_is_refused():
    with pytest.raises(UserError, match="empty"):
        read_history("journal.bin", [], LABELS.rank)


def test_the_best_point_is_ranked_as_the_task_ranks_it():
    history = History(plan=PLAN, selection={}, pins={}, rank=lambda metrics: (metrics["score"], 0.0))
    history.add_event(Validated(step=3, best=True, metrics={"score": 7.0}))
    assert history.best == (7.0, 0.0)


def test_labels_are_ranked_by_accuracy_and_answers_by_loss():
    history = History(plan=PLAN, selection={}, pins={}, rank=LABELS.rank)
    history.add_event(Validated(step=3, best=True, metrics={"accuracy": 0.75, "loss": 0.5}))
    assert history.best == (0.75, -0.5)
    history.rank = ANSWERS.rank
    history.add_event(Validated(step=4, best=True, metrics={"loss": 0.5, "perplexity": 1.65}))
    assert history.best == pytest.approx((0.6065, -0.5), abs=1e-4)
