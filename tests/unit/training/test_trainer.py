"""Training: smaller micro-batches when memory is refused, the best point kept, the same weights for a seed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

import proxtune.training.gradient_step
import proxtune.training.optimizer
from proxtune.config.plan import Plan
from proxtune.data.dataset import Encoded
from proxtune.errors import Interrupted
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.memory.phases import Phases
from proxtune.methods.linear_head import SOFTENING
from proxtune.models.introspection import head_of
from proxtune.runtime.clock import Clock
from proxtune.storage.events import StepDown, StepEvent, Validation
from proxtune.training.context import Training
from proxtune.training.trainer import train
from support.trainings import (
    PLAN,
    NoCheckpoints,
    digest,
    even_words,
    events_of,
    prepared_model,
    run_training,
    stopping_after,
    weights,
    words_of,
)


@dataclass
class Held(Governor):
    """A governor that does as the test says when it is to hold."""

    on_hold: Callable[[], None] = lambda: None

    def hold(self) -> None:
        self.on_hold()


def go(
    model,
    plan: Plan,
    data: Encoded,
    save_best=lambda: None,
    on_hold=lambda: None,
    interrupted=lambda: False,
    seed=0,
    checkpointer=None,
    evaluations=3,
    first_metrics=None,
    validates_start=False,
):
    """Run `train` to its end; returns its events and the governor."""
    governor = Held(None, ProcessMeter(), on_hold=on_hold)
    training = Training(
        model=model, train=data, validation=data, pad_id=model.config.pad_token_id, seed=seed,
        clock=Clock(time.monotonic(), None), ending_seconds=0.0, evaluations=evaluations, max_steps=plan.steps,
        governor=governor,
        phases=Phases(ProcessMeter(), 0), save_best=save_best, save_stopped=save_best, interrupted=interrupted,
        checkpointer=checkpointer or NoCheckpoints(), first_metrics=first_metrics,
        validates_start=validates_start,
    )  # fmt: skip
    return list(train(plan, training)), governor


def refuse_more_than(model, tokens: int, error: Exception) -> None:
    """Let the model's training passes fail as the system fails them: when too many tokens are computed at a time."""
    forward = model.forward

    def limited(*args, **kwargs):
        if torch.is_grad_enabled() and kwargs["input_ids"].numel() > tokens:
            raise error
        return forward(*args, **kwargs)

    model.forward = limited


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("could not create a primitive"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 100 bytes."),
    ],
    ids=["oneDNN", "python", "torch"],
)
def test_a_refusal_ends_with_the_weights_of_a_run_begun_smaller(tiny_model, error):
    data = even_words()
    refused, smaller = prepared_model(tiny_model, PLAN), prepared_model(tiny_model, PLAN)
    events, governor = go(refused, PLAN, data, on_hold=lambda: refuse_more_than(refused, 2 * 32, error))
    go(smaller, replace(PLAN, micro_batch=2), data)
    downs = events_of(StepDown, events)
    assert [(down.before, down.after) for down in downs] == [
        ("micro-batch 8", "micro-batch 4"),
        ("micro-batch 4", "micro-batch 2"),
    ]
    assert governor.step_downs == downs
    assert len(events_of(StepEvent, events)) == PLAN.steps
    assert np.array_equal(weights(refused), weights(smaller))


def test_an_error_that_is_no_refusal_is_not_swallowed(tiny_model):
    model = prepared_model(tiny_model, PLAN)
    error = RuntimeError("shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        go(model, PLAN, even_words(), on_hold=lambda: refuse_more_than(model, 0, error))


def test_when_not_even_one_row_fits_memory_is_the_error(tiny_model):
    model, kept = prepared_model(tiny_model, PLAN), []
    with pytest.raises(MemoryError, match="one row does not fit"):
        go(model, PLAN, even_words(), lambda: kept.append(1), lambda: refuse_more_than(model, 0, MemoryError()))
    assert kept == []


def test_when_memory_runs_out_later_the_best_so_far_stands(tiny_model):
    model, kept = prepared_model(tiny_model, PLAN), []

    def keep():
        kept.append(weights(model))
        refuse_more_than(model, 0, MemoryError())

    events, _ = go(model, PLAN, even_words(), keep)
    assert len(kept) == 1
    assert isinstance(events[-1], StepDown)
    assert events[-1].after == "the best weights so far"
    assert np.array_equal(weights(model), kept[0])


def test_an_interrupt_validates_and_keeps_the_best_first(tiny_model):
    model, events = prepared_model(tiny_model, PLAN), []
    asked = iter([False, True])
    with pytest.raises(Interrupted, match=f"after 2 of {PLAN.steps} steps"):
        go(model, PLAN, even_words(), lambda: events.append("kept"), interrupted=lambda: next(asked))
    assert events == ["kept"]


def test_the_best_is_kept_each_time_it_is_beaten(tiny_model):
    model, kept = prepared_model(tiny_model, PLAN), []
    events, _ = go(model, PLAN, even_words(), lambda: kept.append(1))
    validated = events_of(Validation, events)
    assert validated[-1].step == PLAN.steps
    assert sum(event.best for event in validated) == len(kept) >= 1


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(tiny_folder, tiny_texts):
    data = words_of(tiny_texts, tiny_folder)
    found = []
    for seed in (1, 1, 2):
        model = prepared_model(tiny_folder, PLAN)
        go(model, PLAN, data, seed=seed)
        found.append(weights(model))
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_training_learns_what_can_be_learned(tiny_model):
    model = prepared_model(tiny_model, PLAN)
    events, _ = go(model, replace(PLAN, steps=60, learning_rate=3e-3), even_words())
    losses = [step.loss for step in events_of(StepEvent, events)]
    assert np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3])


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_each_optimizer_moves_the_weights(tiny_model, optimizer):
    model = prepared_model(tiny_model, PLAN)
    before = weights(model)
    go(model, replace(PLAN, optimizer=optimizer, steps=2), even_words())
    assert not np.array_equal(weights(model), before)
    assert np.isfinite(weights(model)).all()


def test_when_an_update_is_refused_the_heap_has_no_holes_from_then_on(tiny_model, monkeypatch):
    model, plain, refused, plan = (
        prepared_model(tiny_model, PLAN),
        prepared_model(tiny_model, PLAN),
        [],
        replace(PLAN, micro_batch=1, batch=8),
    )
    data = even_words()
    go(plain, replace(plan, allocator="tight", checkpointing=False), data)
    real = proxtune.training.optimizer.update

    def refused_once(model, optimizer):
        if not refused:
            refused.append(1)
            raise RuntimeError("can't allocate memory")
        return real(model, optimizer)

    monkeypatch.setattr(proxtune.training.gradient_step, "update", refused_once)
    _, governor = go(model, plan, data)
    assert np.array_equal(weights(model), weights(plain))
    assert [down.after for down in governor.step_downs] == ["micro-batch 1 with the tight allocator"]


@pytest.mark.parametrize(("evaluations", "validated"), [(1, []), (2, []), (3, [3, 6])])
def test_the_last_point_is_validated_where_there_are_others_and_kept_in_any_case(
    tiny_model, tiny_texts, evaluations, validated
):
    kept = []
    plan, data = replace(PLAN, steps=6), words_of(tiny_texts, tiny_model)
    events, _ = go(
        prepared_model(tiny_model, PLAN), plan, data, save_best=lambda: kept.append(1), evaluations=evaluations
    )
    assert [event.step for event in events_of(Validation, events)] == validated
    assert kept


FROM_HEAD = replace(PLAN, head_rows=24)


def test_what_begins_with_a_fitted_head_is_validated_first_and_learns_from_a_softer_one(tiny_model):
    model, kept = prepared_model(tiny_model, FROM_HEAD), []
    head = head_of(model)[1]
    before = head.weight.detach().clone()
    frozen = replace(FROM_HEAD, learning_rate=0.0)
    events, _ = go(model, frozen, even_words(), lambda: kept.append(head.weight.detach().clone()))
    assert isinstance(events[0], Validation)
    assert (events[0].step, events[0].best) == (0, True)
    assert torch.equal(kept[0], before)
    torch.testing.assert_close(head.weight * SOFTENING, before)


def test_a_model_that_knows_its_task_is_validated_first_and_its_head_stays(tiny_model):
    model, kept = prepared_model(tiny_model, PLAN), []
    head = head_of(model)[1]
    before = head.weight.detach().clone()
    events, _ = go(model, replace(PLAN, learning_rate=0.0), even_words(), lambda: kept.append(1), validates_start=True)
    first, *_ = events_of(Validation, events)
    assert (first.step, first.best) == (0, True)
    assert len(kept) == 1, "no later point is better"
    assert torch.equal(head.weight, before)


def test_without_a_fitted_head_nothing_is_softened(tiny_model):
    model = prepared_model(tiny_model, PLAN)
    before = head_of(model)[1].weight.detach().clone()
    events, _ = go(model, replace(PLAN, learning_rate=0.0), even_words())
    assert isinstance(events[0], StepEvent)
    assert torch.equal(head_of(model)[1].weight, before)


def test_a_fitted_head_is_kept_where_not_even_one_row_fits_memory(tiny_model):
    model, kept = prepared_model(tiny_model, FROM_HEAD), []
    events, _ = go(
        model, FROM_HEAD, even_words(), lambda: kept.append(1), lambda: refuse_more_than(model, 0, MemoryError())
    )
    assert kept == [1]
    assert events[-1].after == "the best weights so far"


@pytest.mark.parametrize("stop", [1, 3])
def test_a_resume_begins_at_the_softer_head_once(tmp_path, tiny_model, stop):
    rows = even_words()
    _, whole = run_training(tmp_path / "whole", tiny_model, rows, FROM_HEAD)
    with pytest.raises(Interrupted):
        run_training(tmp_path / "parts", tiny_model, rows, FROM_HEAD, interrupted=stopping_after(stop))
    _, parts = run_training(tmp_path / "parts", tiny_model, rows, FROM_HEAD)
    assert digest(parts) == digest(whole)


def test_what_is_known_of_the_beginning_is_not_computed_again(tiny_model):
    model = prepared_model(tiny_model, FROM_HEAD)
    known = {"accuracy": 2.0, "macro_f1": 2.0, "loss": 0.0}
    events, _ = go(model, FROM_HEAD, even_words(), first_metrics=known)
    first, *later = events_of(Validation, events)
    assert (first.step, first.metrics, first.best) == (0, known, True)
    assert later
    assert not any(event.best for event in later)
