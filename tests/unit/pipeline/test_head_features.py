"""The probe's two halves: features to disk, a head from another process, and the model with that head as the plan prepares it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from proxtune.config.plan import plan_as_dict
from proxtune.config.recipe import Recipe
from proxtune.methods.linear_head import fit_head
from proxtune.methods.registry import all_methods
from proxtune.models.introspection import head_of
from proxtune.pipeline.head_features import (
    has_features,
    model_with_head,
    needs_features,
    remove_features,
    sample_rows,
    save_features,
)
from proxtune.pipeline.result import FitStart, Timing
from proxtune.runtime import model_setup
from proxtune.storage.events import StepDown
from support.stages import session_of
from support.trainings import PLAN

PROBE = replace(PLAN, method="probe", optimizer="none", steps=0)
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


def test_only_what_comes_to_a_fitted_head_or_begins_from_one_needs_features():
    needing = {name for name in all_methods() if needs_features(replace(PLAN, method=name))}
    assert needing == {"probe", "nno"}


def test_the_second_half_takes_up_where_the_first_ended(session):
    model = model_setup.prepared(PROBE, session)
    assert not has_features(session)
    save_features(session, PROBE, model, start_of(PROBE))
    assert has_features(session)
    with np.load(session.folder / "features.npz") as arrays:
        assert arrays["train"].shape == (len(session.data.train), 32)
        assert arrays["held"].shape == (len(session.data.validation), 32)
        assert (int(arrays["classes"]), bool(arrays["has_bias"])) == (2, True)
    fit_head(session.folder)
    peak = session.phases.memory_bytes["train"]
    session.phases.memory_bytes.clear()  # as in the process of the second half

    start, again = model_with_head(session)
    assert start == start_of(PROBE)
    assert session.governor.step_downs == [DOWN]
    assert session.phases.memory_bytes["train"] == peak
    with np.load(session.folder / "head.npz") as head:
        assert torch.equal(head_of(again)[1].weight, torch.from_numpy(head["weight"]))
    remove_features(session)
    assert not has_features(session)
    assert not list(session.folder.glob("*.npz"))


def test_what_is_saved_is_what_a_fit_begins_with_and_the_peak_so_far(session):
    save_features(session, PROBE, model_setup.prepared(PROBE, session), start_of(PROBE))
    saved = json.loads((session.folder / "settled.json").read_text())
    assert saved == start_of(PROBE).as_dict() | {"memory_bytes": session.phases.memory_bytes}


def test_steps_by_neighbours_begin_from_a_head_of_fewer_rows(session):
    plan = replace(PROBE, method="nno", neighbours=4, last_layers=1, micro_batch=48, head_rows=24)
    save_features(session, plan, model_setup.prepared(plan, session), start_of(plan))
    with np.load(session.folder / "features.npz") as arrays:
        assert len(arrays["train"]) == len(arrays["labels"]) == 24
        assert len(arrays["held"]) == len(session.data.validation)


def test_rows_are_drawn_by_the_seed(rows):
    few = sample_rows(rows, 10, seed=1)
    assert len(few) == 10
    assert np.array_equal(few.ids, sample_rows(rows, 10, seed=1).ids)
    assert not np.array_equal(few.ids, sample_rows(rows, 10, seed=2).ids)
    assert sample_rows(rows, 48, seed=1) is rows
