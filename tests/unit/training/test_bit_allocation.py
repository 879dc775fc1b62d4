"""Allocating bits: what weights are worth, in smaller micro-batches where memory is refused, and never the end of a run."""

import pytest
import torch

from proxtune.compression.architecture import Structure
from proxtune.compression.size_constraint import SizeConstraint
from proxtune.compression.weight_format import FITTED_AT_ONCE
from proxtune.config.plan import Plan
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.models.introspection import head_of
from proxtune.training.bit_allocation import allocate_bits, importance_of
from proxtune.training.gradient_step import gradient_step_maker
from support.trainings import prepared_model, training_of

PLAN = Plan("full", "fp32", 8, 8, 32, False, "adamw", 1e-3, 2.0, 10, 0)
REFUSAL = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 46875264 bytes."


class Noting(Governor):
    """What is asked of the limit."""

    def __init__(self) -> None:
        super().__init__(None, ProcessMeter())
        self.asked: list[str] = []

    def hold(self) -> None:
        self.asked.append("hold")

    def release(self) -> None:
        self.asked.append("release")


@pytest.fixture
def model(tiny_model):
    return prepared_model(tiny_model, PLAN)


@pytest.fixture
def training(model, rows, tmp_path):
    constraint = SizeConstraint(model, head_of(model)[0], Structure(58_000, 4, 32, 1000, 3), tmp_path)
    return training_of(model, rows, PLAN, None, constraint=constraint, governor=Noting())


def refuse_more_than(most, model, monkeypatch):
    """Let the model's forward pass fail with more rows than that."""
    forward = model.forward

    def limited(**inputs):
        if len(inputs["input_ids"]) > most:
            raise RuntimeError(REFUSAL)
        return forward(**inputs)

    monkeypatch.setattr(model, "forward", limited)


def refuse_fits_of_more_than(most, training, monkeypatch):
    """Let the fit of scales fail with more numbers at a time than that, under the limit."""
    allocate, tried = training.constraint.allocate, []

    def limited(importance=None, at_once=FITTED_AT_ONCE):
        tried.append(at_once)
        if at_once > most and "release" not in training.governor.asked:
            raise MemoryError
        return allocate(importance, at_once)

    monkeypatch.setattr(training.constraint, "allocate", limited)
    return tried


def test_what_weights_are_worth_is_the_mean_square_of_their_gradients(model, rows):
    importance = importance_of(PLAN, model, rows, 0, 0, rows=8)
    assert importance.keys() == dict(model.named_parameters()).keys()
    table = importance["bert.embeddings.word_embeddings.weight"]
    unseen = sorted(set(range(len(table))) - set(rows.ids.tolist()) - {model.config.pad_token_id})
    assert float(table[unseen].abs().max()) == 0.0
    assert float(table.max()) > 0
    assert all(p.grad is None for p in model.parameters())


def test_where_nothing_is_refused_nothing_steps_down(training):
    allocation, changes = allocate_bits(PLAN, training, 5)
    assert not changes
    assert allocation == training.constraint.allocation
    assert not training.governor.asked


def test_gradients_are_squared_for_fewer_rows_where_memory_is_refused(training, model, rows, monkeypatch):
    expected = training.constraint.allocate(importance_of(PLAN, model, rows, model.config.pad_token_id, 0, rows=2))
    refuse_more_than(2, model, monkeypatch)
    allocation, changes = allocate_bits(PLAN, training, 5)
    assert [(change.before, change.after) for change in changes] == [
        ("weights' worth from 8 rows at a time", "4 at a time"), ("weights' worth from 4 rows at a time", "2 at a time"),
    ]  # fmt: skip
    assert changes == training.governor.step_downs
    assert allocation == expected


def test_where_one_row_is_too_much_all_weights_count_alike(training, model, monkeypatch):
    expected = training.constraint.allocate(None)
    refuse_more_than(0, model, monkeypatch)
    allocation, changes = allocate_bits(PLAN, training, 5)
    assert changes[-1].after == "all counting alike"
    assert allocation == expected
    assert all(p.grad is None for p in model.parameters())


def test_scales_are_fitted_to_fewer_numbers_where_memory_is_refused(training, monkeypatch):
    tried = refuse_fits_of_more_than(1 << 17, training, monkeypatch)
    allocation, changes = allocate_bits(PLAN, training, 5)
    assert tried == [1 << 20, 1 << 17]
    assert [change.after for change in changes] == ["scales fitted 131,072 numbers at a time"]
    assert allocation.bytes <= training.constraint.structure.size_bytes
    assert not training.governor.asked


def test_what_was_learned_is_held_without_the_limit_where_no_bite_fits(training, monkeypatch):
    tried = refuse_fits_of_more_than(0, training, monkeypatch)
    allocation, _ = allocate_bits(PLAN, training, 5)
    assert tried == sorted(tried, reverse=True)
    assert len(tried) > 2
    assert allocation == training.constraint.allocation
    assert training.governor.asked == ["release", "hold"]


def test_an_error_that_is_no_refusal_is_not_hidden(training, model, monkeypatch):
    monkeypatch.setattr(model, "forward", lambda **inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        allocate_bits(PLAN, training, 5)


def test_a_step_is_cut_smaller_where_there_is_no_room_for_the_nearest_points(training, model, rows, monkeypatch):
    training.constraint.allocate()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    step_maker = gradient_step_maker(PLAN, training)
    nearest, refusals = training.constraint._formats["classifier.weight"].__class__.nearest, [True]

    def refused_once(held, x, few=None):
        if refusals and len(x) == 2:  # the last of the weights
            refusals.clear()
            raise RuntimeError(REFUSAL)
        return nearest(held, x, few)

    monkeypatch.setattr(training.constraint._formats["classifier.weight"].__class__, "nearest", refused_once)
    done = step_maker.make_step(PLAN, torch.arange(8).numpy(), 0, 0.0)  # a rate of zero: weights stay where they are
    assert done.plan.micro_batch == 4
    assert [change.why for change in done.step_downs] == [REFUSAL]
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
