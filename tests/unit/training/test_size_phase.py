"""The size phase: free before it, held to a size in it; what is best is sought anew, and a run that continues ends the same."""

import pytest
import torch

from proxtune.checkpoint.state import TrainingState
from proxtune.compression.architecture import Structure
from proxtune.compression.size_constraint import SizeConstraint
from proxtune.config.plan import Plan
from proxtune.errors import Interrupted
from proxtune.models.introspection import head_of
from proxtune.storage.events import Continued, SizePhaseBegun, Validation
from proxtune.training.size_phase import free_steps, rate_share
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

PLAN = Plan("full", "fp32", 8, 8, 32, False, "adamw", 1e-3, 2.0, 10, 0)
STRUCTURE = Structure(58_000, 4, 32, 1000, 3)


def held_training(folder, source, rows, **changes):
    """As `run_training`, held to a size; the model that comes back is projected."""
    folder.mkdir(exist_ok=True)
    model = prepared_model(source, PLAN)
    checkpointer = checkpointer_in(folder, model, PLAN)
    constraint = SizeConstraint(model, head_of(model)[0], STRUCTURE, folder)
    events = []
    try:
        for event in train(
            PLAN, training_of(model, rows, PLAN, checkpointer, folder, constraint=constraint, **changes)
        ):
            events.append(event)
            checkpointer.commit()
    except Interrupted:
        return events, model, constraint
    finally:
        checkpointer.close()
    constraint.project()
    return events, model, constraint


def test_it_is_free_until_half_of_the_steps_and_validated_in_its_size_from_then_on(tmp_path, tiny_model, rows):
    events, model, constraint = held_training(tmp_path / "run", tiny_model, rows)
    (begun,) = events_of(SizePhaseBegun, events)
    assert begun.step == 5
    assert begun.allocated_bytes <= STRUCTURE.size_bytes
    after = [event for event in events_of(Validation, events) if event.step >= 5]
    assert after[0].step == 5
    assert after[0].best  # whatever was reached without the constraint
    for name, weight in model.named_parameters():
        assert torch.equal(constraint._formats[name].nearest(weight), weight), name
    assert constraint.teacher.shape == (len(rows), 2)


@pytest.mark.parametrize("stop", [3, 5, 8])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, tiny_model, rows, stop):
    _, whole, _ = held_training(tmp_path / "whole", tiny_model, rows)
    held_training(tmp_path / "cut", tiny_model, rows, interrupted=stopping_after(stop))
    events, again, _ = held_training(tmp_path / "cut", tiny_model, rows)
    assert isinstance(events[0], Continued)
    assert digest(again) == digest(whole)


def test_without_a_size_nothing_is_held(tmp_path, tiny_model, rows):
    events, _ = run_training(tmp_path / "run", tiny_model, rows, PLAN)
    assert not events_of(SizePhaseBegun, events)


def test_the_rate_falls_to_the_size_phase_and_begins_lower_in_it(tmp_path, tiny_model, rows):
    model = prepared_model(tiny_model, PLAN)
    constraint = SizeConstraint(model, head_of(model)[0], STRUCTURE, tmp_path)
    training = training_of(model, rows, PLAN, None, constraint=constraint)
    state = TrainingState(PLAN, 100)
    assert free_steps(state) == 50
    free = [rate_share(TrainingState(PLAN, 100, step=step), training, 0.06) for step in range(50)]
    held = [
        rate_share(TrainingState(PLAN, 100, step=step, size_phase_step=50), training, 0.06) for step in range(50, 100)
    ]
    assert max(free) == 1.0
    assert max(held) == 0.5
    assert free[-1] < 0.05
    assert held[-1] < 0.05
