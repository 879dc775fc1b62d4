"""Keeping: a new training begins as it is, an old one at its last snapshot, and a disk without room is told of once."""

import errno
from dataclasses import replace

import pytest
import torch

from proxtune.checkpoint import checkpointer as module
from proxtune.checkpoint.checkpointer import Checkpointer
from proxtune.checkpoint.history import Begun, LeftOut, Rescheduled, Returned, Validated, encode_event, read_history
from proxtune.checkpoint.snapshot import save_weights, snapshots
from proxtune.checkpoint.state import TrainingState
from proxtune.config.plan import plan_as_dict
from proxtune.errors import UserError
from proxtune.optim.step_record import StepRecord
from proxtune.storage.journal import Journal
from proxtune.tasks.classification.objective import LABELS
from proxtune.training.context import StepMaker
from support.trainings import PLAN

STEPS = StepMaker(lambda *given: None)


@pytest.fixture
def model():
    """Six numbers that learn."""
    torch.manual_seed(0)
    return torch.nn.Linear(2, 2)


@pytest.fixture
def opened(tmp_path, model):
    """`opened(notes)`: a checkpointer of the training in the test's folder, new or begun before; the one before is closed."""
    before = []

    def open_it(notes=()):
        for each in before:
            each.close()
        path = tmp_path / "journal.bin"
        if not path.exists():
            Journal.create(path, encode_event(Begun(plan=plan_as_dict(PLAN), selection={}, pins={}))).close()
        journal, records = Journal.open(path)
        history = read_history(path, records, LABELS.rank)
        before[:] = [Checkpointer(folder=tmp_path, model=model, journal=journal, history=history, notes=notes)]
        return before[0]

    yield open_it
    for each in before:
        each.close()


def at(step, **more):
    return TrainingState(PLAN, PLAN.steps, step=step, **more)


def test_a_new_training_begins_where_it_is(opened):
    checkpointer, state = opened(), at(0)
    assert not checkpointer.can_resume
    assert checkpointer.resume(STEPS, state) == (state, None)


def test_a_training_continues_at_its_last_snapshot(opened, model):
    opened().save(STEPS, at(4, rate_share=0.5))
    saved = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.zero_()
    checkpointer = opened(notes=("the rows changed",))
    assert checkpointer.can_resume
    state, told = checkpointer.resume(STEPS, at(0))
    assert state == at(4, rate_share=0.5)
    assert (told.step, told.snapshot, told.notes) == (4, 4, ("the rows changed",))
    assert torch.equal(model.weight, saved)


def test_a_snapshot_that_is_damaged_is_passed_over_and_told(opened, tmp_path):
    opened().save(STEPS, at(4))
    (path,) = snapshots(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    state, told = opened(notes=("the rows changed",)).resume(STEPS, at(0))
    assert (state.step, told.snapshot) == (0, None)
    assert "it is not used" in told.notes[1]


def test_the_best_point_counts_only_where_its_weights_are_there(opened, tmp_path, model):
    opened().record_event(Validated(step=2, metrics={"accuracy": 0.75, "loss": 0.5}, best=True))
    assert opened().resume(STEPS, at(0))[0].best == at(0).best
    save_weights(model, tmp_path)
    assert opened().resume(STEPS, at(0))[0].best == (0.75, -0.5)


def test_what_was_decided_and_found_before_is_known(opened):
    validated = Validated(step=4, metrics={"accuracy": 0.75, "loss": 0.5}, best=True)
    first = opened()
    assert (first.past_schedule(at(0)), first.past_validation(4)) == (None, None)
    for event in (Rescheduled(step=2, steps=5), validated):
        first.record_event(event)
    again = opened()
    assert [again.past_schedule(at(step)) for step in (1, 2, 4, 5)] == [PLAN.steps, 5, PLAN.steps, None]
    assert again.past_validation(4) == validated


def test_rows_are_left_out_from_their_step_on(opened):
    opened().record_event(LeftOut(step=2, rows=(7,)))
    opened().record_event(LeftOut(step=4, rows=(9,)))
    again = opened()
    assert [again.rows_left_out(step) for step in (1, 2, 3, 4, 9)] == [set(), {7}, {7}, {7, 9}, {7, 9}]


def test_steps_that_records_repeat_are_made_again_from_where_the_snapshot_was(opened, tmp_path):
    def record(number, rule="estimate"):
        return StepRecord(
            step=number, seed=0, batch=0, spread=0.5, rate=0.5, rule=rule, centre=0.5, losses=(0.5, 0.25)
        )  # fmt: skip

    made = []
    steps = replace(STEPS, replay=lambda records, applied: made.append((len(records), applied)))
    first = opened()
    for number in range(3):
        first.record_step(record(number))
    first.save(steps, at(2))
    first.record_event(Rescheduled(step=3, steps=5))
    state, told = opened().resume(steps, at(0))
    assert (state.step, state.steps, told.snapshot) == (3, 5, 2)
    # steps to the nearest point rest on all before them: a snapshot has not what they looked back to
    again = opened()
    again.record_step(record(3, rule="nearest"))
    state, told = opened().resume(steps, at(0))
    assert (state.step, told.snapshot) == (4, None)
    assert made == [(3, 2), (4, 0)]


def test_records_that_lead_nowhere_are_refused(opened):
    def replay(records, applied):
        raise ValueError("the records are of another seed")

    opened().record_event(Rescheduled(step=1, steps=5))
    with pytest.raises(UserError, match=r"journal\.bin: the records are of another seed; train again"):
        opened().resume(replace(STEPS, replay=replay), at(0))


def test_a_disk_without_room_is_told_of_once_and_again_when_there_is_room(opened, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    checkpointer, real = opened(), module.save_snapshot
    monkeypatch.setattr(module, "save_snapshot", full)
    told = [checkpointer.save(STEPS, at(step)) for step in (1, 2)]
    monkeypatch.setattr(module, "save_snapshot", real)
    told += [checkpointer.save(STEPS, at(step)) for step in (3, 4)]
    (first,), second, (third,), fourth = told
    assert second == fourth == []
    assert "No space left on device" in first.words
    assert "step 1" in first.words
    assert "step 3" in third.words


def test_a_snapshot_is_due_when_its_time_has_come_and_nothing_is_doubtful(opened, tmp_path, monkeypatch):
    checkpointer = opened()
    assert checkpointer.save_if_due(STEPS, at(1)) == []
    assert snapshots(tmp_path) == []
    monkeypatch.setattr(checkpointer, "_next", 0.0)
    checkpointer.save_if_due(STEPS, at(2, rejected=1))
    assert snapshots(tmp_path) == []
    checkpointer.save_if_due(STEPS, at(3))
    assert [path.name for path in snapshots(tmp_path)] == ["step-00000003.safetensors"]


def test_back_at_the_last_snapshot_the_smaller_rate_and_the_best_point_stay(opened):
    checkpointer = opened()
    assert checkpointer.roll_back(STEPS, at(2)) is None
    checkpointer.save(STEPS, at(4))
    back = checkpointer.roll_back(STEPS, at(7, rate_share=0.125, best=(0.75, -0.5)))
    assert back == at(4, rate_share=0.125, best=(0.75, -0.5), rollbacks=1)
    assert checkpointer.roll_back(replace(STEPS, replay=lambda *given: None), at(7)) is None
    found = opened().resume(STEPS, at(0))[0]
    assert (found.rate_share, found.rollbacks) == (0.125, 1), "it outlives the process"


def test_going_back_is_in_the_journal(opened):
    checkpointer = opened()
    checkpointer.record_event(Rescheduled(step=6, steps=5))
    checkpointer.save(STEPS, at(4))
    checkpointer.record_event(Returned(step=4))
    assert opened().past_schedule(at(6)) is None


def test_where_memory_refuses_a_snapshot_the_last_one_stays_and_training_goes_on(opened, tmp_path, monkeypatch):
    def refused(*given):
        raise RuntimeError("can't allocate memory")

    checkpointer = opened()
    checkpointer.save(STEPS, at(1))
    monkeypatch.setattr(module, "save_snapshot", refused)
    (told,) = checkpointer.save(STEPS, at(2))
    assert told.words.startswith("no snapshot at step 2: memory was refused; the last one stays.")
    assert told.words.endswith("free some memory")
    assert [path.name for path in snapshots(tmp_path)] == ["step-00000001.safetensors"]
