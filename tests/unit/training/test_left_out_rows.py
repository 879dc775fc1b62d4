"""Rows that memory refuses even alone: named, left out from then on, before and after a resume; the rest is learned."""

import math
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from proxtune.config.plan import Plan
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.runtime.clock import Clock
from proxtune.storage.events import RowsLeftOut, StepDown, StepEvent, Validation
from proxtune.training.left_out_rows import with_rows_that_fit
from proxtune.training.memory_retry import NothingSmaller
from proxtune.training.trainer import train
from support.trainings import (
    checkpointer_in,
    digest,
    events_of,
    prepared_model,
    run_training,
    training_of,
    weights,
)

FULL = Plan("full", "fp32", 8, 1, 32, True, "adamw", 1e-3, 3.0, 18, 0)
NNO = replace(FULL, method="nno", neighbours=4, last_layers=2, micro_batch=1, checkpointing=False, optimizer="none")


def refuse(model, data, rows, when=lambda: True):
    """Let memory be refused to these rows where they are to be learned from."""
    marks = {tuple(data.ids[data.starts[row] : data.starts[row + 1]]) for row in rows}
    real = model.forward

    def forward(*given, **named):
        is_learning = model.training or torch.is_inference_mode_enabled()
        ids, mask = named["input_ids"], named["attention_mask"]
        if (
            is_learning
            and when()
            and any(tuple(own[: int(kept.sum())].tolist()) in marks for own, kept in zip(ids, mask, strict=True))
        ):
            raise MemoryError
        return real(*given, **named)

    model.forward = forward


def refusing(data, rows, **knobs):
    return lambda model, checkpointer: refuse(model, data, rows, **knobs)


def apart(one, other) -> float:
    """How far the weights are from each other: by the rounding of sums over micro-batches, which a step-down makes smaller."""
    return float(np.abs(weights(one) - weights(other)).mean())


def line_of(row):
    return f"reviews.csv line {row + 2}"


@pytest.mark.parametrize("plan", [FULL, NNO], ids=["full", "nno"])
def test_a_row_that_is_refused_alone_is_named_once_and_all_steps_are_made(tmp_path, tiny_model, rows, plan):
    events, _ = run_training(
        tmp_path / "run", tiny_model, rows, plan, prepare=refusing(rows, [5, 11]), where=line_of, evaluations=1
    )
    told = events_of(RowsLeftOut, events)
    assert sorted(row for event in told for row in event.rows) == ["reviews.csv line 13", "reviews.csv line 7"]
    assert all(event.step <= 6 for event in told), "in the first epoch"
    steps = events_of(StepEvent, events)
    assert [event.step for event in steps] == list(range(1, plan.steps + 1))
    assert all(math.isfinite(event.loss) for event in steps)


def test_the_rest_of_its_batch_is_learned_as_if_the_row_had_never_been_there(tmp_path, tiny_model, rows):
    events, found = run_training(
        tmp_path / "refused", tiny_model, rows, FULL, prepare=refusing(rows, [5, 11]), where=str
    )
    told = {event.step: [int(row) for row in event.rows] for event in events_of(RowsLeftOut, events)}

    def known(model, checkpointer):
        checkpointer.rows_left_out = lambda step: frozenset(
            row for when, each in told.items() if when <= step for row in each
        )

    events, wanted = run_training(tmp_path / "known", tiny_model, rows, FULL, prepare=known)
    assert not events_of(RowsLeftOut, events)
    assert apart(found, wanted) < 1e-7


@pytest.mark.parametrize("plan", [FULL, NNO], ids=["full", "nno"])
@pytest.mark.parametrize(("snapshot", "killed"), [(1, 9), (8, 12)])
def test_a_resumed_run_leaves_out_the_same_though_memory_is_there_again(
    tmp_path, tiny_model, rows, plan, snapshot, killed
):
    class Killed(BaseException):
        pass

    def dying(model, checkpointer):
        refuse(model, rows, [5, 11])

        def save_if_due(step_maker, state):
            if state.step == killed:
                raise Killed
            return checkpointer.save(step_maker, state) if state.step == snapshot else []

        checkpointer.save_if_due = save_if_due

    settings = {"evaluations": 1}
    _, whole = run_training(tmp_path / "whole", tiny_model, rows, plan, prepare=refusing(rows, [5, 11]), **settings)
    with pytest.raises(Killed):
        run_training(tmp_path / "run", tiny_model, rows, plan, prepare=dying, **settings)
    events, resumed = run_training(tmp_path / "run", tiny_model, rows, plan, **settings)
    assert not events_of(RowsLeftOut, events)
    assert events_of(StepEvent, events)[-1].step == plan.steps
    assert apart(resumed, whole) < 1e-7 if plan is FULL else digest(resumed) == digest(whole)


def test_a_batch_that_is_refused_whole_is_passed_over(tmp_path, tiny_model, rows):
    longest = np.argsort(rows.lengths)[-8:]
    model = prepared_model(tiny_model, FULL)
    refuse(model, rows, longest)
    training = training_of(model, rows, FULL, checkpointer_in(tmp_path, model, FULL), tmp_path, evaluations=1)
    before, events = digest(model), []
    for event in train(FULL, training):
        if isinstance(event, StepEvent):
            events.append(event)
            assert (digest(model) == before) is (event.learning_rate == 0.0)
            before = digest(model)
    assert len(events) == FULL.steps
    passed_over = [event for event in events if event.learning_rate == 0.0]
    assert passed_over
    assert all(math.isnan(event.loss) for event in passed_over)


@pytest.mark.parametrize("large", [[], [3]])
def test_a_batch_that_is_refused_though_its_rows_fit_ends_it_and_is_named_as_far_as_can_be(rows, large):
    governor = Governor(None, ProcessMeter())
    training = SimpleNamespace(
        governor=governor, phases=SimpleNamespace(meter=governor.meter), clock=Clock(time.monotonic()), train=rows,
        where=line_of,
    )  # fmt: skip

    def refused(plan, few):
        raise MemoryError

    def attempt(plan, few):
        if set(large) & set(few.tolist()):
            raise MemoryError

    words = "its rows one after another" if not large else line_of(3)
    with pytest.raises(NothingSmaller, match=words):
        with_rows_that_fit(FULL, training, 0, np.arange(8), refused, attempt, lambda plan: None)


def test_where_no_row_can_be_computed_it_ends_with_the_better_of_the_latest_weights_and_the_best(
    tmp_path, tiny_model, rows
):
    def later(model, checkpointer):
        now = [0]
        refuse(model, rows, range(48), when=lambda: model.training and now[0] >= 8)

        def save_if_due(step_maker, state):
            now[0] = state.step
            return []

        checkpointer.save_if_due = save_if_due

    plan = replace(FULL, learning_rate=3e-3)
    events, _ = run_training(tmp_path / "run", tiny_model, rows, plan, prepare=later, where=line_of, evaluations=4)
    assert [event.step for event in events_of(StepEvent, events)] == list(range(1, 9))
    end = events_of(StepDown, events)[-1]
    shortest = line_of(int(np.argmin(rows.lengths)))
    assert end.after == "the best weights so far"
    assert end.why == f"a step of one row does not fit in the memory budget: not even {shortest}, the shortest"
    validated = events_of(Validation, events)
    assert [event.step for event in validated] == [6, 8]
    assert events[-1] is validated[-1]
    assert validated[-1].metrics["loss"] < validated[0].metrics["loss"]


def test_what_was_learned_from_no_row_is_an_error_that_names_the_shortest(tmp_path, tiny_model, rows):
    begun = []

    def prepare(model, checkpointer):
        refuse(model, rows, range(48), when=lambda: bool(begun))
        checkpointer.save_if_due = lambda step_maker, state: begun.append(1) or []

    with pytest.raises(MemoryError, match=f"not even {line_of(int(np.argmin(rows.lengths)))}"):
        run_training(tmp_path / "run", tiny_model, rows, FULL, prepare=prepare, where=line_of)


def test_rows_that_fit_one_after_another_are_learned_so_from_then_on(tmp_path, tiny_model, rows):
    """The heap breaks up as rows come and go: more than one row before free memory is given back is refused."""
    model, since, plan = prepared_model(tiny_model, FULL), [0], replace(FULL, steps=6)
    training = training_of(model, rows, plan, checkpointer_in(tmp_path, model, plan), tmp_path, evaluations=1)
    real, trim = model.forward, training.governor.meter.trim

    def given_back():
        since[0] = 0
        trim()

    def forward(*given, **named):
        if model.training and torch.is_grad_enabled():
            since[0] += len(named["input_ids"])
            if since[0] > 1 and begun:
                raise MemoryError
        return real(*given, **named)

    begun = []
    training.governor.meter.trim, model.forward = given_back, forward
    training.checkpointer.save_if_due = lambda step_maker, state: begun.append(1) or []
    events = list(train(plan, training))
    assert len(events_of(StepEvent, events)) == plan.steps
    assert not events_of(RowsLeftOut, events)
    downs = [down.after for down in events_of(StepDown, events)]
    assert downs[-1] == "rows one at a time"
    assert {down.at_step for down in events_of(StepDown, events)} == {0}
