"""Numbers that are not finite: nothing moves, the rate backs off, the row is named, the last snapshot is gone back to."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from proxtune.config.plan import Plan
from proxtune.errors import Interrupted, UserError
from proxtune.storage.events import Notice, StepEvent, StepRejected
from proxtune.training.trainer import train
from support.trainings import (
    checkpointer_in,
    digest,
    events_of,
    prepared_model,
    run_training,
    stopping_after,
    training_of,
)

FULL = Plan("full", "fp32", 8, 8, 32, False, "adamw", 1e-3, 3.0, 18, 0)
NNO = replace(FULL, method="nno", neighbours=4, last_layers=2, micro_batch=48, optimizer="none")


def poison(model, data, rows, *, when=lambda: True):
    """Rows whose logits are not a number while the model learns."""
    marks = {tuple(data.ids[data.starts[row] : data.starts[row + 1]]) for row in rows}
    real = model.forward

    def forward(*given, **named):
        out = real(*given, **named)
        if not (torch.is_grad_enabled() or torch.is_inference_mode_enabled()) or not when():
            return out
        ids, mask = named["input_ids"], named["attention_mask"]
        bad = [tuple(own[: int(kept.sum())].tolist()) in marks for own, kept in zip(ids, mask, strict=True)]
        out.logits = torch.where(torch.tensor(bad)[:, None], float("nan"), out.logits)
        return out

    model.forward = forward


@pytest.mark.parametrize("plan", [FULL, NNO], ids=["full", "nno"])
def test_a_row_that_is_poisoned_is_named_and_its_steps_move_nothing(tmp_path, tiny_model, rows, plan):
    model = prepared_model(tiny_model, plan)
    poison(model, rows, [5])
    training = training_of(
        model,
        rows,
        plan,
        checkpointer_in(tmp_path, model, plan),
        tmp_path,
        where=lambda row: f"reviews.csv line {row + 2}",
    )
    events, moved, before = [], [], digest(model)
    for event in train(plan, training):
        events.append(event)
        if isinstance(event, StepEvent):
            moved.append(digest(model) != before)
            before = digest(model)
    rejected = events_of(StepRejected, events)
    assert len(rejected) == 3  # once an epoch
    assert all(event.rows == ("reviews.csv line 7",) for event in rejected)
    still = [step for step, has in enumerate(moved, start=1) if not has]
    steps = [event.step for event in rejected]
    assert set(steps) <= set(still)
    early = len(moved) // 2  # later nno's rate may be so small that no loss differs and nothing moves either
    assert [step for step in still if step <= early] == [step for step in steps if step <= early]


def test_the_learning_rate_backs_off_and_comes_back(tmp_path, tiny_model, rows):
    plan = replace(FULL, steps=120, epochs=20.0)

    def rates(poisoned):
        model = prepared_model(tiny_model, plan)
        steps = iter(range(10**6))
        poison(model, rows, poisoned, when=lambda: next(steps) < 60)
        events, _ = run_training(
            tmp_path / str(len(poisoned)),
            tiny_model,
            rows,
            plan,
            prepare=lambda own, checkpointer: poison(own, rows, poisoned, when=lambda: next(steps) < 12),
        )
        return [step.learning_rate for step in events_of(StepEvent, events)]

    plain, backed = rates([]), rates([5])
    shares = np.array(backed) / np.array(plain)
    assert shares.min() == pytest.approx(0.5)
    assert shares[-1] == pytest.approx(1.0)


def test_after_three_bad_steps_in_a_row_the_last_snapshot_is_back(tmp_path, tiny_model, rows):
    """A model that goes wrong at step 8, with a snapshot of step 6."""
    seen = []

    def prepare(model, checkpointer):
        def save_if_due(step_maker, state):
            seen.append((state.step, digest(model), state.rate_share))
            if state.step == 8 and state.rollbacks == 0:
                with torch.no_grad():
                    model.classifier.bias.fill_(float("nan"))
            return checkpointer.save(step_maker, state) if state.step == 6 and not state.rollbacks else []

        checkpointer.save_if_due = save_if_due

    events, model = run_training(tmp_path / "run", tiny_model, rows, FULL, prepare=prepare)
    assert [event.step for event in events_of(StepRejected, events)] == [9, 10, 11]
    told = [notice.words for notice in events_of(Notice, events)]
    assert told == ["3 steps in a row were not finite: back from step 11 to 6, with 0.125 of the learning rate"]
    again = [each for each in seen if each[0] == 6]
    assert len(again) == 2
    assert again[0][1] == again[1][1]
    assert again[1][2] == 0.125
    assert events[-1].step == FULL.steps
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_the_smaller_share_outlives_the_process(tmp_path, tiny_model, rows):
    def prepare(model, checkpointer):
        def save_if_due(step_maker, state):
            if state.step == 8 and state.rollbacks == 0:
                with torch.no_grad():
                    model.classifier.bias.fill_(float("nan"))
            return checkpointer.save(step_maker, state) if state.step == 6 and not state.rollbacks else []

        checkpointer.save_if_due = save_if_due

    with pytest.raises(Interrupted):
        run_training(tmp_path / "run", tiny_model, rows, FULL, prepare=prepare, interrupted=stopping_after(12))
    _, straight = run_training(tmp_path / "straight", tiny_model, rows, FULL, prepare=prepare)
    events, model = run_training(tmp_path / "run", tiny_model, rows, FULL)
    assert events[0].step == 7
    assert digest(model) == digest(straight)


def test_when_nothing_helps_the_user_is_told(tmp_path, tiny_model, rows):
    with pytest.raises(UserError, match="--learning-rate"):
        run_training(
            tmp_path / "run", tiny_model, rows, FULL, prepare=lambda model, checkpointer: poison(model, rows, range(48))
        )


def test_what_was_learned_before_is_kept_when_nothing_helps(tmp_path, tiny_model, rows):
    def prepare(model, checkpointer):
        steps = iter(range(10**6))
        poison(model, rows, range(48), when=lambda: next(steps) > 15)

    events, _ = run_training(tmp_path / "run", tiny_model, rows, FULL, prepare=prepare, evaluations=18)
    assert "ends with the best weights" in events[-1].words
    assert (tmp_path / "run" / "snapshots" / "best.safetensors").is_file()
