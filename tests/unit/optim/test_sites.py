"""Sites: every use of a weight that learns, each weight once, and those that cannot be seen through an activation."""

import pytest
import torch

from proxtune.optim.points import Points
from proxtune.optim.sites import EMBEDDING, LINEAR, SCALE, SHIFT, sites_of, weights_of
from support.neighbours import a_mix


def test_every_kind_of_site_is_found_in_the_models_order():
    assert [(site.name, site.kind, site.rows, site.columns) for site in sites_of(a_mix())] == [
        ("0.weight", EMBEDDING, 20, 8),
        ("1.weight", SCALE, 8, 1),
        ("1.bias", SHIFT, 8, 1),
        ("2.weight", LINEAR, 12, 8),
        ("2.bias", SHIFT, 12, 1),
        ("4.weight", LINEAR, 4, 12),
        ("5.weight", SCALE, 4, 1),
    ]


def test_plain_numbers_are_shifted():
    (site,) = sites_of(Points([torch.ones(3)]))
    assert (site.name, site.kind, site.rows) == ("place", SHIFT, 3)


def test_a_weight_that_rests_keeps_the_others_streams():
    model = a_mix()
    every = {site.name: site.stream for site in sites_of(model)}
    model[1].requires_grad_(False)
    learning = {site.name: site.stream for site in sites_of(model)}
    assert learning == {name: stream for name, stream in every.items() if not name.startswith("1.")}


def test_a_tied_weight_is_one_weight_with_a_site_for_each_use():
    model = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 9))
    model[1].weight = model[0].weight
    sites = sites_of(model)
    assert [(site.name, site.kind) for site in sites] == [
        ("0.weight", EMBEDDING),
        ("1.weight", LINEAR),
        ("1.bias", SHIFT),
    ]
    assert [site.name for site in weights_of(sites)] == ["0.weight", "1.bias"]
    assert sites[0].stream == sites[1].stream


def test_a_weight_that_no_activation_shows_is_refused_with_a_reason():
    model = torch.nn.Sequential(torch.nn.Conv1d(2, 2, 1), torch.nn.Linear(4, 4))
    with pytest.raises(TypeError, match=r"0\.weight is in a Conv1d"):
        sites_of(model)
    with pytest.raises(ValueError, match="no weight of this model is trainable"):
        sites_of(model.requires_grad_(False))
    with pytest.raises(TypeError, match="float16"):
        sites_of(torch.nn.Linear(4, 4).half())
