"""Memory is refused in the midst of a run: all steps are made, and the result is that of a run that nothing was refused."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from proxtune.checkpoint.snapshot import has_weights, restore_weights
from proxtune.config.plan import Plan
from proxtune.data.dataset import select_rows
from proxtune.methods.registry import find_method
from proxtune.models.loading import load_generator
from proxtune.storage.events import Notice, RowsLeftOut, StepDown, StepEvent, Validation
from proxtune.training.trainer import train
from support.generating import toy_data
from support.trainings import NoCheckpoints, digest, events_of, prepared_model, training_of, weights

STEPS = 8
PLAN = Plan("full", "fp32", 8, 8, 32, False, "adamw", 1e-3, 2.0, STEPS, 0)
POINTS = [0, STEPS // 4, STEPS // 2, 3 * STEPS // 4, STEPS - 1]  # steps made before
REFUSAL = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 100 bytes.")
ALL_RUNGS, ALWAYS = 8, 10**9  # refusals: the ladder has six rungs for a batch of eight rows


@dataclass
class Refusals:
    """Where memory is refused, in which step, and how often."""

    where: str = ""
    step: int = -1
    times: int = 0
    made: int = 0
    is_armed: bool = False

    def ask(self, where: str) -> None:
        if self.is_armed and where == self.where and self.made < self.times:
            self.made += 1
            raise REFUSAL


class Arming(NoCheckpoints):
    """Arms the refusals for one step, and for the evaluation after it."""

    def __init__(self, refusals: Refusals) -> None:
        super().__init__()
        self.refusals = refusals

    def save_if_due(self, step_maker, state):
        self.refusals.is_armed = state.step == self.refusals.step
        return []


@pytest.fixture
def refusing(monkeypatch):
    """Refusals that the next run meets, in backward passes and updates when these have done half of their work."""
    refusals = Refusals()
    backward, step = torch.Tensor.backward, torch.optim.AdamW.step

    def half_backward(*given, **named):
        backward(*given, **named)
        refusals.ask("backward")

    def refused_step(*given, **named):
        refusals.ask("update")
        return step(*given, **named)

    monkeypatch.setattr(torch.Tensor, "backward", half_backward)
    monkeypatch.setattr(torch.optim.AdamW, "step", refused_step)
    return refusals


@pytest.fixture(params=["tiny_model", "tiny_chat", "tiny_t5"])
def task(request, rows, tiny_pairs):
    """A classification and two generations: makes a model that is always the same, its rows and its plan."""
    folder = request.getfixturevalue(request.param)
    if request.param == "tiny_model":
        return lambda: (prepared_model(folder, PLAN), rows, PLAN)
    toys = toy_data(folder, tiny_pairs)
    data = select_rows(toys.train, np.arange(48))
    plan = replace(PLAN, max_length=int(data.lengths.max()))
    return lambda: (find_method("full").prepare(load_generator(folder, toys.config), plan), data, plan)


def run(task, folder, refusals):
    """The events of a run and its last weights; those of the best point are in `folder`."""
    folder.mkdir()
    model, data, plan = task()
    forward = model.forward

    def refused_forward(*given, **named):
        refusals.ask("validation" if torch.is_inference_mode_enabled() else "forward")
        return forward(*given, **named)

    model.forward = refused_forward
    training = training_of(model, data, plan, Arming(refusals), folder, evaluations=STEPS + 1)
    save = training.save_best

    def refused_save():
        refusals.ask("saving")
        save()

    events = list(train(plan, replace(training, save_best=refused_save)))
    model.forward = forward
    return events, model


def last_loss(events):
    return events_of(Validation, events)[-1].metrics["loss"]


@pytest.mark.parametrize("times", [1, ALL_RUNGS], ids=["once", "on_all_rungs"])
@pytest.mark.parametrize("where", ["forward", "backward", "update"])
def test_a_step_that_memory_is_refused_for_is_made_all_the_same(tmp_path, task, refusing, where, times):
    if where == "update":
        times = min(times, 2)
    straight, wanted = run(task, tmp_path / "straight", refusing)
    for step in POINTS:
        refusing.where, refusing.step, refusing.times, refusing.made = where, step, times, 0
        events, model = run(task, tmp_path / str(step), refusing)
        assert refusing.made == times
        assert [event.step for event in events_of(StepEvent, events)] == list(range(1, STEPS + 1))
        assert not events_of(RowsLeftOut, events)
        assert {down.at_step for down in events_of(StepDown, events)} == {step}
        assert last_loss(events) == pytest.approx(last_loss(straight), abs=1e-5)
        apart = np.abs(weights(model) - weights(wanted))
        assert apart.mean() < 1e-7


@pytest.mark.parametrize("where", ["validation", "saving"])
@pytest.mark.parametrize("times", [1, ALWAYS], ids=["once", "always"])
def test_an_evaluation_that_memory_is_refused_for_ends_nothing(tmp_path, task, refusing, monkeypatch, where, times):
    monkeypatch.setattr("proxtune.training.validation.time.sleep", lambda seconds: None)
    straight, wanted = run(task, tmp_path / "straight", refusing)
    for step in POINTS:
        refusing.where, refusing.step, refusing.times, refusing.made = where, step, times, 0
        folder = tmp_path / str(step)
        if (where, times, step) == ("saving", ALWAYS, STEPS - 1):
            continue  # what cannot be written in the end is an error (tests/unit/training/test_validation.py)
        events, model = run(task, folder, refusing)
        assert [event.step for event in events_of(StepEvent, events)] == list(range(1, STEPS + 1))
        assert digest(model) == digest(wanted)
        told = [notice.words for notice in events_of(Notice, events)]
        validated = [event.step for event in events_of(Validation, events)]
        if where == "validation" and times == ALWAYS:
            assert validated == [each for each in range(1, STEPS + 1) if each != step + 1]
            why = "evaluating one row does not fit in the memory budget"
            assert told == [f"step {step + 1} was not evaluated ({why}); training continues"]
        elif times < ALWAYS:
            assert validated == list(range(1, STEPS + 1))
            assert last_loss(events) == pytest.approx(last_loss(straight), abs=1e-6)
        assert has_weights(folder)
        restore_weights(model, folder)
        assert np.isfinite(weights(model)).all()
