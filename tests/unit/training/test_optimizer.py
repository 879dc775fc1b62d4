"""The optimizer: its state by the weight that it belongs to, and an update that a refusal does not spoil."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from proxtune.storage.safetensors_header import Entry
from proxtune.training.optimizer import make_optimizer, room_for_state, state_of, update
from support.trainings import PLAN, prepared_model


@pytest.mark.parametrize("optimizer", ["adafactor", "adamw"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_update_that_memory_was_refused_for_moves_the_rest_when_it_is_made_again(
    tiny_model, monkeypatch, optimizer, at
):
    """The one parameter that was refused may miss the step; no other is moved twice, or not at all."""
    plan, rng = replace(PLAN, optimizer=optimizer), np.random.default_rng(at)
    once, again = prepared_model(tiny_model, plan), prepared_model(tiny_model, plan)
    slopes = [torch.from_numpy(rng.normal(size=p.shape).astype(np.float32)) for p in once.parameters()]
    moved = [p.detach().clone() for p in once.parameters()]
    for model in (once, again):
        for parameter, slope in zip(model.parameters(), slopes, strict=True):
            parameter.grad = slope.clone()
    assert update(once, make_optimizer(once, plan))
    where, name = (torch, "norm") if optimizer == "adafactor" else (torch, "zeros_like")
    real, calls = getattr(where, name), []

    def refused_once(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2 * at + 5:
            raise RuntimeError("can't allocate memory")
        return real(*args, **kwargs)

    monkeypatch.setattr(where, name, refused_once)
    made = make_optimizer(again, plan)
    with pytest.raises(RuntimeError, match="can't allocate"):
        update(again, made)
    assert update(again, made)
    differ = [not torch.allclose(a, b, atol=1e-6) for a, b in zip(once.parameters(), again.parameters(), strict=True)]
    assert sum(differ) == (1 if optimizer == "adafactor" else 0)
    assert all(not torch.equal(a, b) for a, b in zip(once.parameters(), moved, strict=True))
    assert all(p.grad is None for p in again.parameters())


def test_where_the_state_of_the_last_group_is_refused_the_first_is_not_moved_twice(tiny_model, monkeypatch):
    """AdamW makes the state of a group, moves the group, and goes on to the next."""
    once, again = prepared_model(tiny_model, PLAN), prepared_model(tiny_model, PLAN)
    for model in (once, again):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
    assert update(once, make_optimizer(once, PLAN))
    made, real, calls = make_optimizer(again, PLAN), torch.zeros_like, []
    of_the_first = 2 * len(made.param_groups[0]["params"])  # two moments for each weight

    def refused_once(*args, **kwargs):
        calls.append(1)
        if len(calls) == of_the_first + 3:
            raise RuntimeError("can't allocate memory")
        return real(*args, **kwargs)

    monkeypatch.setattr(torch, "zeros_like", refused_once)
    with pytest.raises(RuntimeError, match="can't allocate"):
        update(again, made)
    assert update(again, made)
    for one, other in zip(once.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_the_state_has_room_in_another_process_under_the_same_names(tiny_model, optimizer):
    plan = replace(PLAN, optimizer=optimizer)
    model = prepared_model(tiny_model, plan)
    made = make_optimizer(model, plan)
    assert state_of(model, made) == {}, "none before its first step"
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert update(model, made)
    state = state_of(model, made)
    assert {name.rpartition("/")[0] for name in state} == {name for name, _ in model.named_parameters()}
    entries = {name: Entry(dtype="F32", shape=tuple(tensor.shape), begin=0, end=0) for name, tensor in state.items()}
    other = prepared_model(tiny_model, plan)
    again = make_optimizer(other, plan)
    room = room_for_state(other, again, entries)
    assert {name: tensor.shape for name, tensor in room.items()} == {
        name: tensor.shape for name, tensor in state.items()
    }
    assert all(state_of(other, again)[name] is tensor for name, tensor in room.items())


def test_biases_and_norms_are_not_decayed(tiny_model):
    model = prepared_model(tiny_model, PLAN)
    decayed, others = make_optimizer(model, PLAN).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
    assert {p.dim() for p in decayed["params"]} == {2}
    assert {p.dim() for p in others["params"]} == {1}


def test_a_gradient_that_is_not_finite_moves_nothing_and_stays(tiny_model):
    model = prepared_model(tiny_model, PLAN)
    before = [p.detach().clone() for p in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    assert not update(model, make_optimizer(model, PLAN))
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    assert all(p.grad is not None for p in model.parameters())
