"""The update: the sum over neighbours, the same to the last bit everywhere, and small ones are not lost in sixteen bits."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.optim.neighbours import combined, directions
from proxtune.optim.sites import sites_of, weights_of
from proxtune.optim.step_record import StepRecord
from proxtune.optim.update import UNIT, apply_record, apply_update, coefficients, moves_of
from support.neighbours import SEED, STEP, K, a_mix, delta_of

RECORD = StepRecord(
    step=STEP, seed=SEED, batch=0, spread=0.125, rate=0.5, rule="estimate", centre=1.0, losses=(2.0, 0.5, 1.0)
)


def slow_move(site, ways, weighted, rate):
    """The twin of the update, neighbour by neighbour in doubles."""
    total = sum(count * delta_of(site, ways, k).double() for k, count in enumerate(weighted))
    return rate * total / (UNIT * ways.neighbours)


def move(sites, ways, weighted, length, step):
    apply_update(sites, lambda site, part: combined(site, ways, weighted, part), length, SEED, step)


def test_the_update_is_the_sum_over_neighbours():
    model = a_mix()
    sites = sites_of(model)
    ways, weighted = directions(sites, SEED, STEP, K), [300, -5, 77]
    wanted = {s.name: s.weight.detach().double() - slow_move(s, ways, weighted, 0.3) for s in weights_of(sites)}
    move(sites, ways, weighted, 0.3 / (UNIT * K), STEP)
    for site in weights_of(sites):
        torch.testing.assert_close(site.weight.detach().double(), wanted[site.name], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_update_is_the_same_to_the_last_bit_with_any_number_of_threads(dtype):
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            layer = torch.nn.Linear(700, 900).to(dtype)
            sites = sites_of(layer)
            for step in range(5):
                move(sites, directions(sites, SEED, step, 16), list(range(-800, 800, 100)), 2e-7, step)
            found.append(layer.weight.detach().clone())
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_sixteen_bits_do_not_eat_small_updates():
    """A hundred steps, each far below the last bit of a bfloat16 weight, arrive all the same."""
    layer = torch.nn.Linear(256, 256, bias=False).to(torch.bfloat16)
    with torch.no_grad():
        layer.weight.fill_(1.0)  # the last bit is 2⁻⁸ below and 2⁻⁷ above
    sites = sites_of(layer)
    ways = directions(sites, SEED, 0, 2)
    rate = 2**-12
    for step in range(100):
        move(sites, ways, [UNIT, UNIT], rate / (2 * UNIT), step)
    wanted = 1 - 100 * slow_move(sites[0], ways, [UNIT, UNIT], rate)
    off = (layer.weight.detach().double() - wanted).double()
    assert abs(float(off.mean())) < 1e-4
    assert float((layer.weight.detach().double() - 1).abs().mean()) > 0.5 * float((wanted - 1).abs().mean())
    nearest = torch.ones(256, 256, dtype=torch.bfloat16)
    for _ in range(100):
        nearest = (nearest.float() - slow_move(sites[0], ways, [UNIT, UNIT], rate).float()).to(torch.bfloat16)
    assert torch.equal(nearest, torch.ones_like(nearest))  # what plain rounding makes of it


numbers = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40)


@settings(max_examples=100)
@given(numbers)
def test_coefficients_are_standardised_and_centred(losses):
    found = coefficients(losses)
    assert len(found) == len(losses)
    assert max(abs(count) for count in found) <= 4 * UNIT
    if np.ptp(losses) > 1e-3:
        uncut = [count for count in found if abs(count) < 4 * UNIT]
        if len(uncut) == len(found):
            assert abs(sum(found)) <= len(found)
            assert np.std(found) == pytest.approx(UNIT, rel=0.02)


def test_coefficients_of_equal_losses_move_nothing():
    assert coefficients([0.5] * 8) == [0] * 8


@settings(max_examples=50)
@given(st.lists(st.floats(-10, 10), min_size=4, max_size=12), st.randoms())
def test_coefficients_do_not_depend_on_the_order_of_the_neighbours(losses, random):
    order = list(range(len(losses)))
    random.shuffle(order)
    assert coefficients([losses[i] for i in order]) == [coefficients(losses)[i] for i in order]


def test_an_estimate_goes_against_the_losses_and_greed_to_the_best_neighbour():
    weighted, length = moves_of(RECORD)
    assert weighted == coefficients(list(RECORD.losses))
    assert length == 0.5 / (UNIT * 3)
    assert moves_of(replace(RECORD, rule="greedy")) == ([0, -1, 0], 0.125)


@pytest.mark.parametrize("rule", ["estimate", "greedy"])
def test_a_step_that_is_taken_back_leaves_the_weights_about_as_they_were(rule):
    model = a_mix()
    sites, before = sites_of(model), [p.detach().clone() for p in model.parameters()]
    done = replace(RECORD, rule=rule, spread=2**-10, rate=2**-8)
    apply_record(sites, done, None, None)
    moved = [p.detach().clone() for p in model.parameters()]
    assert all(not torch.equal(one, other) for one, other in zip(before, moved, strict=True))
    apply_record(sites, replace(RECORD, rule="taken back"), done, None)
    for one, other, there in zip(before, [p.detach() for p in model.parameters()], moved, strict=True):
        # a norm's own scale has moved meanwhile, so that its way back is of a slightly different length
        assert float((one - other).abs().max()) < 0.02 * float((one - there).abs().max())


@pytest.mark.parametrize(("rule", "last"), [("stayed", RECORD), ("rejected", RECORD), ("taken back", None)])
def test_a_step_that_moved_nothing_is_done_again_as_nothing(rule, last):
    model = a_mix()
    before = [p.detach().clone() for p in model.parameters()]
    apply_record(sites_of(model), replace(RECORD, rule=rule, centre=inf), last, None)
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_directions_at_hand_are_those_that_would_be_drawn():
    ends = []
    for at_hand in (False, True):
        model = a_mix()
        sites = sites_of(model)
        ways = directions(sites, SEED, STEP, K) if at_hand else None
        apply_record(sites, RECORD, None, None, ways)
        ends.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))
