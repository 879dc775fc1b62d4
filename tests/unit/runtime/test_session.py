"""A session: mistakes told before torch is imported, what it says while it opens, and work in a child process."""

import os
import sys
from types import SimpleNamespace

import pytest

from proxtune.memory.phases import Phases
from proxtune.runtime import session
from proxtune.runtime.clock import Clock
from proxtune.runtime.session import Session, in_child_process
from support.scripts import in_a_process_of_its_own

_OPEN = """
import json, sys, time
from pathlib import Path
from proxtune.config.budget import Budget
from proxtune.config.recipe import Recipe
from proxtune.errors import UserError
from proxtune.runtime.clock import Clock
from proxtune.runtime.session import open_session
events = []
recipe = Recipe(data={data!r}, out="", task={task!r}, model={model!r}, budget=Budget({budget}))
try:
    opened = open_session(recipe, Path({folder!r}), Clock(time.monotonic()), 7_000_000, events.append)
    told = [opened.phases.memory_bytes["load"], opened.phases.others_bytes, opened.governor.reserved_bytes,
            opened.governor.memory_bytes, opened.data.max_length, opened.structure is not None, opened.meter.peak(),
            opened.source.folder.name]
except UserError as error:
    told = str(error)
print(json.dumps([told, [event.as_dict() for event in events], "torch" in sys.modules]))
"""


def opened(data, model, folder, task="classify", budget=""):
    """What opening a session in a process of its own comes to: figures or a refusal, the events, whether torch is there."""
    return in_a_process_of_its_own(
        _OPEN.format(data=str(data), model=str(model), folder=str(folder), task=task, budget=budget)
    )


def test_a_mistake_in_the_data_is_told_before_torch_is_imported(tiny_model, tmp_path):
    told, events, has_torch = opened(tmp_path / "gone.csv", tiny_model, tmp_path)
    assert "no such file" in told
    assert [event["kind"] for event in events] == ["phase"]
    assert not has_torch


def test_an_open_session_has_read_and_tokenised_its_rows(tiny_reviews, tiny_model, tmp_path):
    told, events, _ = opened(tiny_reviews, tiny_model, tmp_path, budget="memory='1GB'")
    load_bytes, others_bytes, reserved_bytes, memory_bytes, max_length, is_smaller, peak_bytes, _ = told
    assert [(event["kind"], event.get("phase")) for event in events] == [("phase", "read"), ("data", None)]
    assert events[1]["train_rows"] == 180
    assert others_bytes == reserved_bytes == 7_000_000, "the supervisor's bytes are of the budget"
    assert 50_000_000 < load_bytes <= peak_bytes + others_bytes
    assert (memory_bytes, max_length % 8, is_smaller) == (10**9, 0, False)


def test_with_a_size_it_begins_with_a_smaller_model_or_with_the_whole_one(tiny_reviews, tiny_model, tmp_path):
    told, _, _ = opened(tiny_reviews, tiny_model, tmp_path, budget="size='60kB'")
    assert told[5]
    assert told[7] != tiny_model.name


def test_a_task_without_sizes_refuses_one(tiny_pairs, tiny_chat, tmp_path):
    told, _, _ = opened(tiny_pairs, tiny_chat, tmp_path, task="translate", budget="size='60kB'")
    assert told == "--size does not work with --task translate yet; leave it out"


class Meter:
    """Counts how often free memory was given back."""

    def __init__(self) -> None:
        self.trims = 0

    def trim(self) -> None:
        self.trims += 1


def session_on(can_fork: bool, emit=None) -> Session:
    """A session of which only the device, the meter and the clock are asked."""
    own = dict.fromkeys(("recipe", "folder", "source", "task", "data", "governor"))
    return Session(
        **own,
        device=SimpleNamespace(can_fork=can_fork),
        clock=Clock(0.0),
        phases=Phases(Meter(), 0),
        emit=emit or (lambda event: None),
    )


def test_work_is_done_here_where_the_device_does_not_survive_a_fork():
    here = session_on(can_fork=False)
    assert in_child_process(here, lambda: {"pid": os.getpid()}) == {"pid": os.getpid()}
    assert here.meter.trims == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_work_in_a_child_leaves_this_process_as_it_was(monkeypatch):
    asked = []

    def in_forked_child(work):
        asked.append(work)
        return {"pid": 0}

    monkeypatch.setattr("proxtune.memory.fork.in_forked_child", in_forked_child)
    there, work = session_on(can_fork=True), lambda: 1 / 0
    assert in_child_process(there, work) == {"pid": 0}
    assert asked == [work]
    assert there.meter.trims == 0


def test_phases_are_told_with_the_time_since_the_command(monkeypatch):
    told = []
    monkeypatch.setattr(session, "Phase", SimpleNamespace)
    here = session_on(can_fork=True, emit=told.append)
    here.emit_phase("train")
    assert told[0].phase == "train"
    assert told[0].seconds > 0
