"""A full disk: training continues, the user is told once, the last good snapshot stays, and saving is tried again."""

import errno
import os

import pytest

from proxtune.checkpoint.snapshot import snapshots
from proxtune.config.plan import Plan
from proxtune.errors import DiskFailed
from proxtune.storage.events import Notice
from support.trainings import digest, events_of, run_training

FULL = Plan("full", "fp32", 8, 8, 32, False, "adamw", 1e-3, 3.0, 12, 0)
NNO = Plan("nno", "fp32", 8, 48, 32, False, "none", 0.0, 1.0, 12, 0, neighbours=4, last_layers=2)


@pytest.fixture
def disk(monkeypatch):
    """Whether the disk is full: a list whose first is the answer."""
    full, real = [False], os.write

    def write(descriptor, data):
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    return full


def at_each_step(disk, full, seen):
    """Snapshots at every step, and a disk that is full for some of them."""

    def prepare(model, checkpointer):
        def save_if_due(step_maker, state):
            disk[0] = state.step in full
            told = checkpointer.save(step_maker, state)
            seen.append([path.name for path in snapshots(checkpointer._folder)])
            return told

        checkpointer.save_if_due = save_if_due

    return prepare


@pytest.mark.parametrize("plan", [FULL, NNO], ids=["full", "nno"])
def test_training_goes_on_and_saves_again_when_there_is_room(tmp_path, tiny_model, rows, disk, plan):
    seen = []
    events, model = run_training(
        tmp_path / "run", tiny_model, rows, plan, prepare=at_each_step(disk, range(3, 8), seen)
    )
    disk[0] = False
    _, straight = run_training(tmp_path / "straight", tiny_model, rows, plan)
    assert digest(model) == digest(straight)
    assert seen[2] == seen[3] == seen[7] == ["step-00000002.safetensors"]
    assert seen[8] == ["step-00000008.safetensors"]
    told = [notice.words for notice in events_of(Notice, events)]
    first, *_, last = told
    assert "free some disk space" in first
    assert "step 8" in last
    assert not list((tmp_path / "run").rglob("*.part"))


def test_the_journal_catches_up_and_can_be_gone_on_with(tmp_path, tiny_model, rows, disk):
    class Killed(BaseException):
        pass

    def prepare(model, checkpointer):
        def save_if_due(step_maker, state):
            disk[0] = 2 <= state.step < 5
            if state.step == 7:
                raise Killed
            return []

        checkpointer.save_if_due = save_if_due

    with pytest.raises(Killed):
        run_training(tmp_path / "run", tiny_model, rows, NNO, prepare=prepare)
    events, model = run_training(tmp_path / "run", tiny_model, rows, NNO)
    assert events[0].step == 7
    _, straight = run_training(tmp_path / "straight", tiny_model, rows, NNO)
    assert digest(model) == digest(straight)


def test_what_the_last_step_led_to_is_not_given_up_in_silence(tmp_path, tiny_model, rows, monkeypatch, disk):
    import time

    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)

    def fill(model, checkpointer):
        checkpointer.save_if_due = lambda steps, at: disk.__setitem__(0, at.step == 11) or []

    with pytest.raises(DiskFailed, match="proxtune resume"):
        run_training(tmp_path / "run", tiny_model, rows, FULL, prepare=fill, evaluations=1)
    assert len(slept) == 2


def test_a_disk_that_gives_back_something_else_ends_the_run(tmp_path, tiny_model, rows, monkeypatch):
    from proxtune.checkpoint import snapshot
    from proxtune.storage.safetensors_header import BadTensors

    def damaged(path):
        raise BadTensors(f"{path} is damaged")

    def prepare(model, checkpointer):
        monkeypatch.setattr(snapshot, "verified", damaged)
        checkpointer.save_if_due = checkpointer.save

    with pytest.raises(DiskFailed, match="other data than was written"):
        run_training(tmp_path / "run", tiny_model, rows, FULL, prepare=prepare)
