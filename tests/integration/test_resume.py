"""Resuming: a training that was stopped anywhere ends with the weights of one that was not, to the last bit."""

from dataclasses import replace

import pytest

from proxtune.checkpoint.snapshot import restore_weights, snapshots
from proxtune.config.plan import Plan
from proxtune.errors import Interrupted
from proxtune.storage.events import Continued, StepEvent, Validation
from support.trainings import checkpointer_in, digest, events_of, prepared_model, run_training, stopping_after

FULL = Plan("full", "fp32", 8, 8, 32, False, "adamw", 1e-3, 3.0, 9, 0)
PLANS = {
    "full, AdamW": FULL,
    "full, Adafactor": replace(FULL, optimizer="adafactor"),
    "lora": replace(FULL, method="lora", rank=4),
    "bf16, checkpointing": replace(FULL, dtype="bf16", checkpointing=True),
    "nno": replace(FULL, method="nno", neighbours=4, last_layers=2, micro_batch=48, optimizer="none"),
    "nno in bf16": replace(FULL, method="nno", dtype="bf16", neighbours=4, last_layers=2, micro_batch=48, optimizer="none"),
}  # fmt: skip


def best_of(folder, source, plan):
    model = prepared_model(source, plan)
    restore_weights(model, folder)
    return digest(model)


def steps_of(events):
    """What steps come to, by number, but for when they were made and in what memory."""
    return {event.step: replace(event, seconds=0.0, memory_bytes=0) for event in events_of(StepEvent, events)}


@pytest.mark.parametrize("name", PLANS)
def test_stopped_and_resumed_it_ends_as_if_it_had_not(tmp_path, tiny_folder, rows, name):
    plan = PLANS[name]
    whole, straight = run_training(tmp_path / "straight", tiny_folder, rows, plan)
    told = []
    for steps in (4, 1):
        with pytest.raises(Interrupted):
            run_training(tmp_path / "stopped", tiny_folder, rows, plan, interrupted=stopping_after(steps))
    later, model = run_training(tmp_path / "stopped", tiny_folder, rows, plan)
    told += later
    assert isinstance(told[0], Continued)
    assert told[0].step == 5
    assert min(steps_of(later)) == 6
    assert steps_of(later).items() <= steps_of(whole).items()
    assert digest(model) == digest(straight)
    best = [best_of(tmp_path / folder, tiny_folder, plan) for folder in ("straight", "stopped")]
    assert best[0] == best[1]


@pytest.mark.parametrize("name", ["full, AdamW", "nno", "nno in bf16"])
def test_killed_between_snapshots_it_does_again_what_was_lost(tmp_path, tiny_model, rows, name):
    """A process that dies at step 7 with a snapshot of step 3, twice; `nno` does nothing again that its journal has."""
    plan = PLANS[name]
    whole, straight = run_training(tmp_path / "straight", tiny_model, rows, plan)

    class Killed(BaseException):
        pass

    def dying(step, snapshot):
        def prepare(model, checkpointer):
            def save_if_due(step_maker, state):
                if state.step == step:
                    raise Killed
                return checkpointer.save(step_maker, state) if state.step == snapshot else []

            checkpointer.save_if_due = save_if_due

        return prepare

    for step, snapshot in ((7, 3), (8, 5)):
        with pytest.raises(Killed):
            run_training(tmp_path / "killed", tiny_model, rows, plan, prepare=dying(step, snapshot))
    assert [path.name for path in snapshots(tmp_path / "killed")] == [
        "step-00000005.safetensors" if plan.neighbours == 0 else "step-00000003.safetensors"
    ]
    later, model = run_training(tmp_path / "killed", tiny_model, rows, plan)
    assert later[0].step == (8 if plan.neighbours else 5)
    assert steps_of(later).items() <= steps_of(whole).items()
    assert digest(model) == digest(straight)
    assert best_of(tmp_path / "killed", tiny_model, plan) == best_of(tmp_path / "straight", tiny_model, plan)


def test_without_a_snapshot_nno_follows_its_journal_from_the_first_weights(tmp_path, tiny_model, rows, monkeypatch):
    plan = PLANS["nno"]
    _, straight = run_training(tmp_path / "straight", tiny_model, rows, plan)
    with pytest.raises(Interrupted):
        run_training(tmp_path / "stopped", tiny_model, rows, plan, interrupted=stopping_after(6))
    for path in snapshots(tmp_path / "stopped"):
        path.unlink()
    later, model = run_training(tmp_path / "stopped", tiny_model, rows, plan)
    assert later[0].step == 6
    assert later[0].snapshot is None
    assert digest(model) == digest(straight)


def test_a_validation_that_stands_in_the_journal_is_not_made_again(tmp_path, tiny_model, rows, monkeypatch):
    import proxtune.training.validation

    with pytest.raises(Interrupted):
        run_training(tmp_path / "run", tiny_model, rows, FULL, interrupted=stopping_after(5))
    checkpointer = checkpointer_in(tmp_path / "run", prepared_model(tiny_model, FULL), FULL)
    known = checkpointer.past_validation(4)
    assert known is not None
    for path in snapshots(tmp_path / "run"):
        path.unlink()
    asked, real = [], proxtune.training.validation.validation_scores
    monkeypatch.setattr(
        proxtune.training.validation, "validation_scores", lambda *given: asked.append(1) or real(*given)
    )
    events, _ = run_training(tmp_path / "run", tiny_model, rows, FULL)
    validated = {event.step: event for event in events_of(Validation, events)}
    assert sorted(validated) == [4, 9]
    assert len(asked) == 1
    assert validated[4].metrics == known.metrics


def test_the_point_where_the_person_stops_is_kept_apart(tmp_path, tiny_model, rows):
    with pytest.raises(Interrupted):
        run_training(tmp_path / "run", tiny_model, rows, FULL, interrupted=stopping_after(2))
    assert sorted(path.name for path in (tmp_path / "run" / "snapshots").iterdir()) == [
        "step-00000002.safetensors",
        "stopped.safetensors",
    ]
