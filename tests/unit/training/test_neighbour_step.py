"""Steps by neighbours: the same however a step is cut, evaluated before the first, done again from the journal."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.config.plan import Plan
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.memory.phases import Phases
from proxtune.methods.registry import find_method
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.optim.nno import NNO, replay
from proxtune.optim.step_record import RULES, unpack
from proxtune.runtime.clock import Clock
from proxtune.storage.events import StepDown, StepEvent, Validation
from proxtune.training.context import Training
from proxtune.training.neighbour_step import nno_step, stratified_weights
from proxtune.training.trainer import train
from support.trainings import NoCheckpoints, events_of

PLAN = Plan("nno", "fp32", 8, 48, 32, False, "none", 0.0, 1.0, 4, 0, neighbours=4, last_layers=2, head_rows=8)


def a_model(folder, plan=PLAN):
    config = classifier_config(folder, ["a", "b"], load_tokenizer(folder), 32)
    return find_method("nno").prepare(load_classifier(folder, config, 0, plan.weight_dtype), plan)


def run(model, rows, plan=PLAN, governor=None):
    checkpointer, kept = NoCheckpoints(), []
    training = Training(
        model=model, train=rows, validation=rows, pad_id=model.config.pad_token_id, seed=0,
        clock=Clock(time.monotonic(), None), ending_seconds=0.0, evaluations=2, max_steps=plan.steps,
        governor=governor or Governor(None, ProcessMeter()), phases=Phases(ProcessMeter(), 0),
        save_best=lambda: kept.append(1), save_stopped=lambda: None, interrupted=lambda: False, checkpointer=checkpointer,
    )  # fmt: skip
    return list(train(plan, training)), b"".join(record.pack() for record in checkpointer.records), kept


@pytest.mark.parametrize("micro_batch", [1, 3, 8, 16, 48])
def test_a_step_says_the_same_however_it_is_cut(tiny_folder, rows, micro_batch):
    few = np.arange(8)
    found = []
    for size in (48, micro_batch):
        model = a_model(tiny_folder).eval()
        search = NNO(model, neighbours=4, seed=1)
        plan = replace(PLAN, micro_batch=size)
        for number in range(2):  # the second looks back too
            record = nno_step(search, plan, rows, few, model.config.pad_token_id, number)
        found.append(record)
    assert found[0].losses == pytest.approx(found[1].losses, abs=1e-5)
    assert found[0].centre == pytest.approx(found[1].centre, abs=1e-5)


@given(st.lists(st.integers(0, 2), min_size=3, max_size=40), st.data())
def test_labels_count_in_a_batch_as_they_do_in_all_rows(labels, data):
    everything = np.array(labels)
    rows = np.array(data.draw(st.lists(st.integers(0, len(labels) - 1), min_size=1, max_size=16)))
    weights = stratified_weights(everything, rows)
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    met = [label for label in range(3) if label in everything[rows]]
    shares = np.array([weights[everything[rows] == label].sum() for label in met])
    wanted = np.array([(everything == label).sum() for label in met])
    np.testing.assert_allclose(shares, wanted / wanted.sum(), rtol=1e-4)


def test_pairs_are_told_apart_by_the_types_of_their_tokens(tiny_model, rows):
    pairs = replace(rows, types=(np.arange(len(rows.ids)) % 2).astype(np.int32))
    losses = []
    for data in (rows, pairs):
        model = a_model(tiny_model).eval()
        record = nno_step(NNO(model, neighbours=4, seed=1), PLAN, data, np.arange(8), model.config.pad_token_id)
        losses.append(record.centre)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_journal_leads_from_the_first_weights_to_the_last(tiny_folder, rows, dtype):
    import torch

    plan = replace(PLAN, dtype=dtype)
    model = a_model(tiny_folder, plan)
    events, journal, kept = run(model, rows, plan)
    steps = events_of(StepEvent, events)
    assert len(steps) == 4
    assert len(journal) == 4 * (40 + 4 * 4)
    assert all(step.spread > 0 and step.rule in RULES for step in steps)
    assert isinstance(events[0], Validation)
    assert events[0].step == 0
    assert kept
    again = a_model(tiny_folder, plan)
    replay(again, list(unpack(journal)))
    for (name, one), other in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_a_refused_look_is_made_again_with_fewer_points_at_a_time(tiny_model, rows, monkeypatch):
    import proxtune.training.neighbour_step as module

    sizes, real = [], module.nno_step

    def refusing(search, plan, *rest):
        sizes.append(plan.micro_batch)
        if plan.micro_batch > 12:
            raise RuntimeError("could not create a primitive")
        return real(search, plan, *rest)

    monkeypatch.setattr(module, "nno_step", refusing)
    events, journal, _ = run(a_model(tiny_model), rows, governor=Governor(10**11, ProcessMeter()))
    assert sizes == [48, 24, 12, 12, 12, 12]
    assert [down.after for down in events_of(StepDown, events)] == ["micro-batch 24", "micro-batch 12"]
    assert len(list(unpack(journal))) == 4
