"""The constraint: inside it the model is feasible, outside the latent weights stay as they are, and it can be taken up again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from proxtune.compression.architecture import Structure
from proxtune.compression.size_constraint import NoSizeConstraint, SizeConstraint
from proxtune.config.plan import Plan
from proxtune.models.introspection import head_of
from proxtune.storage.safetensors_file import write_tensors
from proxtune.storage.safetensors_header import BadTensors
from support.trainings import prepared_model

PLAN = Plan("full", "fp32", 8, 8, 32, False, "adamw", 1e-3, 2.0, 6, 0)
STRUCTURE = Structure(58_000, 4, 32, 1000, 3)


@pytest.fixture
def model(tiny_model):
    return prepared_model(tiny_model, PLAN)


def constraint_of(model, folder) -> SizeConstraint:
    return SizeConstraint(model, head_of(model)[0], STRUCTURE, folder)


def values(model) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def alike(one, other) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_before_bytes_are_allocated_nothing_moves(model, tmp_path):
    before = values(model)
    with constraint_of(model, tmp_path).at_nearest():
        assert alike(values(model), before)


def test_inside_the_model_is_what_is_saved_and_outside_nothing_has_moved(model, tmp_path):
    constraint, before = constraint_of(model, tmp_path), values(model)
    allocation = constraint.allocate()
    assert allocation.bytes <= STRUCTURE.size_bytes
    with constraint.at_nearest():
        inside = values(model)
    assert alike(values(model), before)
    assert not alike(inside, before)
    constraint.project()
    assert alike(values(model), inside)
    constraint.project()
    assert alike(values(model), inside)


def test_of_the_embedding_only_the_tokens_of_a_batch_move(model, tmp_path):
    constraint = constraint_of(model, tmp_path)
    constraint.allocate()
    table, tokens = model.get_input_embeddings().weight, np.array([3, 5, 8])
    before = table.detach().clone()
    with constraint.at_nearest():
        everywhere = table.detach().clone()
    with constraint.at_nearest(tokens):
        here = table.detach().clone()
    assert torch.equal(here[tokens], everywhere[tokens])
    others = np.setdiff1d(np.arange(len(table)), tokens)
    assert torch.equal(here[others], before[others])
    assert torch.equal(table, before)


def test_weights_come_back_where_a_step_fails(model, tmp_path):
    constraint, before = constraint_of(model, tmp_path), values(model)
    constraint.allocate()
    with pytest.raises(MemoryError), constraint.at_nearest():
        raise MemoryError
    assert alike(values(model), before)


def test_what_does_not_learn_is_moved_for_good(model, tmp_path):
    table = model.get_input_embeddings().weight.requires_grad_(False)
    before, constraint = table.detach().clone(), constraint_of(model, tmp_path)
    constraint.allocate()
    assert not torch.equal(table, before)
    held = table.detach().clone()
    with constraint.at_nearest():
        assert torch.equal(table, held)


def test_another_process_holds_weights_alike(model, tiny_model, tmp_path):
    constraint = constraint_of(model, tmp_path)
    constraint.teacher = np.arange(6, dtype=np.float32).reshape(3, 2)
    constraint.allocate()
    constraint.save()
    other = prepared_model(tiny_model, PLAN)
    again = constraint_of(other, tmp_path)
    again.load()
    assert again.allocation == constraint.allocation
    assert np.array_equal(again.teacher, constraint.teacher)
    with constraint.at_nearest(), again.at_nearest():
        assert alike(values(model), values(other))
    again.remove_file()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("told", [{}, {"sets": "x", "allocation": "{}"}, {"sets": "{}", "allocation": "{}"}])
def test_a_file_that_does_not_say_how_weights_are_held_is_refused(model, tmp_path, told):
    write_tensors(tmp_path / "held.safetensors", {}, told)
    with pytest.raises(BadTensors, match="does not say how"):
        constraint_of(model, tmp_path).load()


def test_without_a_size_nothing_is_held_or_kept(model, tmp_path):
    constraint, before = NoSizeConstraint(), values(model)
    constraint.allocate_roughly()
    constraint.try_fitting()
    with constraint.at_nearest(np.array([3])):
        assert alike(values(model), before)
    constraint.project()
    constraint.save()
    constraint.load()
    constraint.remove_file()
    assert alike(values(model), before)
    assert (constraint.needs_training, constraint.is_saved, constraint.as_dict()) == (False, False, None)
    with pytest.raises(AssertionError, match="no size is asked for"):
        constraint.allocate()
    constraint.write_model(model, tmp_path / "model")
    assert {"config.json", "model.safetensors"} <= {path.name for path in (tmp_path / "model").iterdir()}


def test_it_is_saved_once_its_bytes_are_allocated(model, tmp_path):
    constraint = constraint_of(model, tmp_path)
    assert not constraint.is_saved
    with pytest.raises(AssertionError, match="bytes are allocated"):
        constraint.save()
    constraint.allocate()
    constraint.save()
    assert constraint.is_saved
    assert constraint.as_dict()["size_bytes"] == STRUCTURE.size_bytes


def test_only_codes_need_training(model, tmp_path):
    assert constraint_of(model, tmp_path).needs_training
    halves = replace(STRUCTURE, bits=16)
    assert not SizeConstraint(model, head_of(model)[0], halves, tmp_path).needs_training
