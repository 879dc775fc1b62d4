"""A run that begins with a fitted classification layer: fitted once, kept for a resume, and put into what the plan prepares."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from proxtune.config.plan import plan_as_dict
from proxtune.config.recipe import Recipe
from proxtune.methods.linear_head import load_head
from proxtune.models.introspection import head_of, without_adapters
from proxtune.pipeline import fitted_head
from proxtune.pipeline.fitted_head import (
    fit_first_head,
    has_head,
    head_metrics,
    model_with_head,
    remove_head,
    sample_rows,
)
from proxtune.pipeline.result import FitStart, Timing
from proxtune.runtime import model_setup
from proxtune.runtime.inference import outputs_of
from proxtune.storage.events import Notice, StepDown
from support.stages import session_of
from support.trainings import PLAN

PROBE = replace(PLAN, method="probe", optimizer="none", steps=0, head_rows=1000)
PLANS = [
    PROBE,
    replace(PROBE, method="nno", neighbours=4, last_layers=1, micro_batch=48),
    replace(PLAN, method="full", head_rows=1000),
    replace(PLAN, method="lora", rank=2, head_rows=1000),
]
DOWN = StepDown(at_step=0, seconds=1.0, before="micro-batch 8", after="micro-batch 4", why="memory")


@pytest.fixture
def session(monkeypatch, tmp_path, tiny_model, tiny_reviews):
    for name in ("set_allocator", "limit_kernel_cache"):  # they change the whole process for good
        monkeypatch.setattr(model_setup, name, lambda *given: None)
    recipe = Recipe(data=str(tiny_reviews), out=str(tmp_path / "run"), model=str(tiny_model), task="classify")
    return session_of(recipe)


def start_of(plan):
    timing = Timing(ending_seconds=5.0, evaluations=1, max_steps=0)
    return FitStart(plan=plan_as_dict(plan), predicted={}, step_downs=(DOWN,), timing=timing)


def outputs(model, session):
    data = session.data
    return outputs_of(model, data.validation, data.pad_id, "fp32", 512, session.governor)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.method)
def test_a_resume_begins_with_the_layer_that_was_fitted(session, plan):
    model = model_setup.loaded(plan, session)
    assert not has_head(session)
    fit_first_head(session, start_of(plan), model)
    assert has_head(session)
    found = outputs(model_setup.as_trained(plan, model, session), session)
    peak = session.phases.memory_bytes["train"]
    session.phases.memory_bytes.clear()  # as in the process that resumes

    start, again = model_with_head(session)
    assert replace(start, timing=start_of(plan).timing) == start_of(plan)
    assert start.timing.validation_seconds > 0
    assert session.governor.step_downs == [DOWN]
    assert session.phases.memory_bytes["train"] == peak
    weight = head_of(without_adapters(again))[1].weight
    assert torch.equal(weight, torch.from_numpy(load_head(session.folder).weight))
    np.testing.assert_allclose(outputs(again, session), found, atol=1e-6)
    remove_head(session)
    assert not has_head(session)
    assert not list(session.folder.glob("*.npz"))


def test_what_is_saved_is_what_a_fit_begins_with_and_the_peak_so_far(session):
    start = fit_first_head(session, start_of(PROBE), model_setup.loaded(PROBE, session))
    saved = json.loads((session.folder / "settled.json").read_text())
    assert saved.pop("metrics") == head_metrics(session)
    assert saved == start.as_dict() | {"memory_bytes": session.phases.memory_bytes}


def test_what_the_head_scores_is_known_without_another_pass(session):
    assert head_metrics(session) is None
    model = model_setup.loaded(PROBE, session)
    fit_first_head(session, start_of(PROBE), model)
    rows = session.data.validation
    assert head_metrics(session) == pytest.approx(rows.objective.score(outputs(model, session), rows), abs=1e-5)


def test_a_layer_that_knows_the_labels_stays_where_no_fit_is_right_more_often(session):
    model = model_setup.loaded(PROBE, session)
    fit_first_head(session, start_of(PROBE), model)
    fitted = load_head(session.folder)
    remove_head(session)
    knowing = replace(session, data=replace(session.data, knows_labels=True))
    fit_first_head(knowing, start_of(replace(PROBE, head_rows=2)), model)
    assert np.array_equal(load_head(session.folder).weight, fitted.weight)


def test_half_of_what_a_resume_needs_is_nothing(session):
    fit_first_head(session, start_of(PROBE), model_setup.loaded(PROBE, session))
    (session.folder / "head.npz").unlink()  # as between the halves of an earlier version
    assert not has_head(session)


def test_where_not_all_rows_are_used_it_is_said(session):
    told = []
    session = replace(session, emit=told.append)
    plan = replace(PROBE, head_rows=24)
    fit_first_head(session, start_of(plan), model_setup.loaded(plan, session))
    (notice,) = [event for event in told if isinstance(event, Notice)]
    assert f"fitted to 24 of {len(session.data.train)} rows" in notice.words


class Slow:
    """A clock on which every look takes a second."""

    limit_seconds = 100.0

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    @property
    def elapsed(self) -> float:
        self.seconds += 1.0
        return self.seconds

    @property
    def left(self) -> float:
        return self.limit_seconds - self.elapsed


@pytest.mark.parametrize(("began", "head_seconds", "fitted"), [(10.0, 20.0, 1_000), (10.0, 2.5, 32), (93.0, 20.0, 16)])
def test_a_machine_slower_than_foreseen_fits_to_fewer_rows(monkeypatch, session, began, head_seconds, fitted):
    """The third has no more than its ending left."""
    monkeypatch.setattr(fitted_head, "_ROWS_AT_A_TIME", 8)
    monkeypatch.setattr(fitted_head, "LEAST_HEAD_ROWS", 16)
    told, rows = [], len(session.data.train)
    session = replace(session, emit=told.append, clock=Slow(began))
    start = start_of(PROBE)
    start = replace(start, timing=replace(start.timing, head_seconds=head_seconds))
    fit_first_head(session, start, model_setup.loaded(PROBE, session))
    notices = [event.words for event in told if isinstance(event, Notice)]
    words = f"fitted to {fitted} of {rows} rows, drawn at random: there was no time for the {rows} planned"
    assert not notices if fitted > rows else words in notices[0]
    assert (load_head(session.folder).weight != 0).any()


def test_rows_are_drawn_by_the_seed(rows):
    few = sample_rows(rows, 10, seed=1)
    assert len(few) == 10
    assert np.array_equal(few.ids, sample_rows(rows, 10, seed=1).ids)
    assert not np.array_equal(few.ids, sample_rows(rows, 10, seed=2).ids)
    every = sample_rows(rows, 60, seed=1)
    assert len(every) == len(rows)
    assert not np.array_equal(every.ids, rows.ids), (
        "they may be in order of their labels, and time may end the pass over them"
    )
