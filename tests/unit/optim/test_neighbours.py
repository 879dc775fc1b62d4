"""Neighbours on the activations are those of weights that are really written; the update is one number for everyone."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from proxtune.optim.neighbours import Point, View, combined, directions, evaluated_at
from proxtune.optim.sites import SCALE, sites_of, weights_of
from proxtune.optim.update import UNIT, apply_update, coefficients

SEED, STEP, K = 11, 5, 3


def delta_of(site, ways, k):
    """Δₖ of a weight, materialised."""
    a, b = ways.rows[site.stream][k].float(), ways.columns[site.stream][k].float()
    if site.weight.dim() > 1:
        return torch.outer(a, b)
    return a * site.weight.detach().float() if site.kind == SCALE else a


def written(model, ways, k, spread):
    """The slow twin: a copy of the model whose weights are those of neighbour k."""
    twin = copy.deepcopy(model)
    places = {site.name: site for site in weights_of(sites_of(model))}
    with torch.no_grad():
        for site in weights_of(sites_of(twin)):
            site.weight.add_(spread * delta_of(places[site.name], ways, k))
    return twin


def moved(model, point):
    """The slow twin of a point."""
    twin = copy.deepcopy(model)
    places = {site.name: site for site in weights_of(sites_of(model))}
    with torch.no_grad():
        for site in weights_of(sites_of(twin)):
            for k, length in enumerate(point.lengths.tolist()):
                site.weight.add_(length * delta_of(places[site.name], point.ways, k))
    return twin


def a_mix():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Embedding(20, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 12), torch.nn.GELU(),
        torch.nn.Linear(12, 4, bias=False), torch.nn.RMSNorm(4),
    )  # fmt: skip


def view_of(sites):
    return View(directions(sites, SEED, STEP, K), 0.1, 0, K)


def agree(model, forward, batch, atol):
    sites = sites_of(model)
    ways = directions(sites, SEED, STEP, K)
    mixed = Point(ways, torch.tensor([0.02, -0.04, 0.03]))
    second = Point(ways, torch.tensor([0.0, 0.05, 0.0]))
    view = View(ways, 0.05, 0, K, (None, mixed, second))
    with torch.inference_mode(), evaluated_at(sites, view):
        found = forward(model, batch.repeat(K + 3, *[1] * (batch.dim() - 1))).chunk(K + 3)
    with torch.inference_mode():
        plain = forward(model, batch)
        for k in range(K):
            expected = forward(written(model, ways, k, 0.05), batch)
            torch.testing.assert_close(found[k], expected, atol=atol, rtol=1e-3)
            assert float((expected - plain).abs().max()) > 20 * atol
        torch.testing.assert_close(found[K], plain, atol=atol, rtol=1e-3)
        torch.testing.assert_close(found[K + 1], forward(moved(model, mixed), batch), atol=atol, rtol=1e-3)
        torch.testing.assert_close(found[K + 2], found[1], atol=atol, rtol=1e-3)


def test_every_kind_of_site_agrees_with_written_weights():
    agree(a_mix(), lambda model, ids: model(ids), torch.randint(0, 20, (4, 6)), atol=2e-5)


def test_a_decoder_with_its_tied_head_agrees_with_written_weights(tiny_decoder):
    model = AutoModelForCausalLM.from_pretrained(tiny_decoder).eval()
    model.lm_head.weight = model.model.embed_tokens.weight
    assert len(sites_of(model)) == len(list(weights_of(sites_of(model)))) + 1
    agree(model, lambda m, ids: m(input_ids=ids).logits, torch.randint(5, 50, (4, 9)), atol=2e-5)


def test_the_blocks_of_an_encoder_agree_with_written_weights(tiny_model):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2).eval()
    model.requires_grad_(False)
    model.bert.encoder.requires_grad_(True)
    agree(model, lambda m, ids: m(input_ids=ids).logits, torch.randint(5, 50, (4, 9)), atol=1e-5)


def test_weights_are_never_written_while_looking():
    model = a_mix()
    before = copy.deepcopy(model.state_dict())
    sites = sites_of(model)
    with torch.inference_mode(), evaluated_at(sites, view_of(sites)):
        model(torch.randint(0, 20, (3 * K, 5)))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_the_hooks_go_when_the_pass_fails():
    model = a_mix()
    sites = sites_of(model)
    with pytest.raises(IndexError), evaluated_at(sites, view_of(sites)):
        model(torch.full((K, 5), 99))
    assert not any(module._forward_hooks for module in model.modules())


def test_a_weight_that_no_activation_shows_is_refused_with_a_word():
    model = torch.nn.Sequential(torch.nn.Conv1d(2, 2, 1), torch.nn.Linear(4, 4))
    with pytest.raises(TypeError, match=r"0\.weight is in a Conv1d"):
        sites_of(model)
    with pytest.raises(ValueError, match="no weight of this model learns"):
        sites_of(model.requires_grad_(False))
    with pytest.raises(TypeError, match="float16"):
        sites_of(torch.nn.Linear(4, 4).half())


def test_rows_that_do_not_part_evenly_are_refused(tiny_model):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2).eval()
    sites = sites_of(model)  # the positions' embedding is shared by all rows
    with pytest.raises(ValueError, match="position_embeddings"), evaluated_at(sites, view_of(sites)):
        model(input_ids=torch.randint(5, 50, (2 * K, 9)))


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


def test_the_weighted_sum_is_exact_in_whole_numbers():
    layer = torch.nn.Linear(65, 33)
    sites = sites_of(layer)
    ways, weighted = directions(sites, SEED, STEP, 40), [1024 - 51 * k for k in range(40)]
    exact = torch.einsum("k,kr,kc->rc", torch.tensor(weighted), ways.rows[0].long(), ways.columns[0].long())
    assert torch.equal(combined(sites[0], ways, weighted).long(), exact)


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


def test_the_estimate_is_unbiased_on_a_quadratic():
    """Mean of (L(θ + εΔ) − L(θ)) Δ / ε over many Δ is the gradient, within what chance leaves."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 5, bias=False).double()
    x, y = torch.randn(40, 6).double(), torch.randn(40, 5).double()
    weight = layer.weight.detach().clone()

    def loss(w):
        return ((x @ w.T - y) ** 2).mean()

    weight.requires_grad_()
    loss(weight).backward()
    sites = sites_of(layer.float())
    spread, estimates = 1e-3, []
    for step in range(60):
        ways = directions(sites, SEED, step, 64)
        for k in range(64):
            delta = delta_of(sites[0], ways, k).double()
            gain = loss(weight.detach() + spread * delta) - loss(weight.detach())
            estimates.append((gain / spread) * delta)
    found = torch.stack(estimates)
    chance = found.std(0) / len(found) ** 0.5
    assert float(((found.mean(0) - weight.grad).abs() / chance).max()) < 4.5
