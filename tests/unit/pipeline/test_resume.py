"""What a training depends on: told where it has changed, refused where it may not, and what rests on it is computed anew."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from proxtune.checkpoint.history import Rescheduled, read_history
from proxtune.checkpoint.snapshot import STOPPED, has_weights, save_weights
from proxtune.checkpoint.state import TrainingState
from proxtune.config.plan import plan_as_dict
from proxtune.config.recipe import Recipe
from proxtune.data.dataset import select_rows
from proxtune.errors import UserError
from proxtune.pipeline import resume as module
from proxtune.pipeline.result import FitStart, Timing
from proxtune.pipeline.resume import open_checkpointer, pins_of, resumable_start
from proxtune.storage.events import StepDown
from proxtune.storage.journal import read_records
from proxtune.training.context import StepMaker
from support.stages import session_of
from support.trainings import PLAN

DOWN = StepDown(at_step=0, seconds=1.0, before="micro-batch 8", after="micro-batch 4", why="memory")
START = FitStart(
    plan=plan_as_dict(PLAN), predicted={"seconds": 9.0}, step_downs=(DOWN,),
    timing=Timing(ending_seconds=5.0, evaluations=3, max_steps=6),
)  # fmt: skip
NNO = replace(PLAN, method="nno", neighbours=4)
STEPS = StepMaker(lambda *given: None)


@pytest.fixture
def session(tmp_path, tiny_model, tiny_reviews):
    recipe = Recipe(data=str(tiny_reviews), out=str(tmp_path / "run"), model=str(tiny_model), task="classify")
    return session_of(recipe)


@pytest.fixture
def opened(session):
    """`opened(…)`: the checkpointer of the session's training, perhaps with other rows or another seed; closed afterwards."""
    found, model = [], torch.nn.Linear(2, 2)

    def open_it(plan=PLAN, exact=False, now=session):
        for each in found:
            each.close()
        found[:] = [open_checkpointer(now, plan, START, model, exact)]
        return found[0]

    yield open_it
    for each in found:
        each.close()


def with_fewer_rows(session):
    few = select_rows(session.data.train, torch.arange(20).numpy())
    return replace(session, data=replace(session.data, train=few))


def notes_of(checkpointer):
    return list(checkpointer._notes)


def history_of(session):
    path = session.folder / "journal.bin"
    return read_history(path, [data for _, data in read_records(path)], session.data.train.objective.rank)


def test_a_folder_without_a_journal_has_nothing_to_resume(session):
    assert resumable_start(session) is None


def test_a_training_is_resumed_with_what_it_began_with(session, opened):
    assert not opened().can_resume
    assert resumable_start(session) == START
    assert session.governor.step_downs == [DOWN]
    assert notes_of(opened()) == notes_of(opened(exact=True)) == [], "nothing has changed"
    assert history_of(session).pins == pins_of(session)


def test_a_point_at_which_the_user_stopped_goes_when_it_is_resumed(session, opened):
    opened()
    save_weights(torch.nn.Linear(2, 2), session.folder, STOPPED)
    opened()
    assert not has_weights(session.folder, STOPPED)


def test_other_rows_are_told_and_refused_where_they_must_be_the_same(session, opened):
    opened()
    other = with_fewer_rows(session)
    with pytest.raises(UserError, match=r"cannot resume exactly: the rows changed; restore it, or drop --exact"):
        opened(exact=True, now=other)
    assert notes_of(opened(now=other)) == ["the rows changed"]
    assert notes_of(opened(now=other)) == [], "from then on these are its rows"


def test_another_seed_is_told_with_both(session, opened):
    opened()
    other = replace(session, recipe=replace(session.recipe, seed=7))
    assert notes_of(opened(now=other)) == ["the seed changed from 0 to 7"]


def test_other_versions_are_told_by_name(session, opened, monkeypatch):
    opened()
    real = module.versions()
    monkeypatch.setattr(module, "versions", lambda: real | {"torch": "9.9", "proxtune": "another"})
    assert notes_of(opened()) == [f"library versions changed: torch {real['torch']} → 9.9"]


@pytest.mark.parametrize(
    ("plan", "change", "is_dropped"),
    [(PLAN, "rows", True), (PLAN, "machine", True), (NNO, "rows", True), (NNO, "machine", False)],
    ids=["gradients, rows", "gradients, machine", "neighbours, rows", "neighbours, machine"],
)
def test_what_was_computed_with_what_has_changed_is_computed_anew(
    session, opened, monkeypatch, plan, change, is_dropped
):
    """What came after the last snapshot; records of steps by neighbours say what was done whatever machine did it."""
    checkpointer = opened(plan)
    checkpointer.record_event(Rescheduled(step=2, steps=9))
    checkpointer.save(STEPS, TrainingState(PLAN, PLAN.steps, step=3))
    checkpointer.record_event(Rescheduled(step=5, steps=4))
    if change == "machine":
        monkeypatch.setattr(module, "_processor", lambda: "another processor")
    opened(plan, now=with_fewer_rows(session) if change == "rows" else session)
    assert history_of(session).schedule == ({2: 9} if is_dropped else {2: 9, 5: 4})


def test_the_head_and_the_weights_are_pinned_by_what_they_hold(session, tmp_path):
    before = pins_of(session)
    (session.folder / "head.npz").write_bytes(b"a head")
    with_head = pins_of(session)
    assert [name for name in before if with_head[name] != before[name]] == ["head"]
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"other weights")
    other = pins_of(replace(session, source=SimpleNamespace(folder=folder)))
    assert [name for name in with_head if other[name] != with_head[name]] == ["weights"]


def test_every_pin_has_words(session):
    for name, value in pins_of(session).items():
        assert name == "versions" or module._WORDS[name] in module._difference(name, "before", value)
