"""Neighbours on the activations are those of weights that are really written."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from proxtune.optim.neighbours import Point, View, combined, directions, evaluated_at
from proxtune.optim.sites import sites_of, weights_of
from support.neighbours import SEED, STEP, K, a_mix, delta_of


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


def test_rows_that_do_not_part_evenly_are_refused(tiny_model):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2).eval()
    sites = sites_of(model)  # the positions' embedding is shared by all rows
    with pytest.raises(ValueError, match="position_embeddings"), evaluated_at(sites, view_of(sites)):
        model(input_ids=torch.randint(5, 50, (2 * K, 9)))


def test_the_weighted_sum_is_exact_in_whole_numbers():
    layer = torch.nn.Linear(65, 33)
    sites = sites_of(layer)
    ways, weighted = directions(sites, SEED, STEP, 40), [1024 - 51 * k for k in range(40)]
    exact = torch.einsum("k,kr,kc->rc", torch.tensor(weighted), ways.rows[0].long(), ways.columns[0].long())
    assert torch.equal(combined(sites[0], ways, weighted).long(), exact)


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
