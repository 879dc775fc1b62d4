"""The diagonal of the Fisher information: against autograd, row by row."""

import pytest
import torch
from torch.nn import functional as F

from proxtune.compression.fisher import choices_of, diagonal_fisher, weighted_distance
from proxtune.feasible.floats import Float
from proxtune.feasible.grid import Grid


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Embedding(7, 5), torch.nn.Flatten(), torch.nn.Linear(10, 3), torch.nn.Tanh())
    network.tied = torch.nn.Linear(3, 3, bias=False)
    return network


def loss_of(network):
    def loss(batch):
        inside = network(batch[0])
        return F.cross_entropy(network.tied(network.tied(inside)), batch[1])  # used twice

    return loss


@pytest.fixture
def batches():
    draw = torch.Generator().manual_seed(1)
    return [(torch.randint(7, (4, 2), generator=draw), torch.randint(3, (4,), generator=draw)) for _ in range(3)]


@pytest.mark.parametrize("by_row", [False, True])
def test_it_is_the_mean_of_squared_gradients(network, batches, by_row):
    parameters = dict(network.named_parameters())
    parameters["2.weight"].requires_grad_(False)
    found = diagonal_fisher(parameters, loss_of(network), batches, by_row)
    assert not parameters["2.weight"].requires_grad
    assert all(parameter.grad is None for parameter in parameters.values())
    parameters["2.weight"].requires_grad_(True)
    squares = [
        [g.square() for g in torch.autograd.grad(loss_of(network)(batch), list(parameters.values()))]
        for batch in batches
    ]
    for place, name in enumerate(parameters):
        expected = torch.stack([each[place] for each in squares]).mean(0)
        if by_row and expected.dim() > 1:
            expected = expected.mean(1, keepdim=True)
        torch.testing.assert_close(found[name], expected)


def test_it_holds_one_gradient_at_a_time(network, batches):
    parameters = dict(network.named_parameters())
    held = []

    def watched(batch):
        held.append([name for name, parameter in parameters.items() if parameter.grad is not None])
        return loss_of(network)(batch)

    handles = [
        parameter.register_hook(lambda grad: held.append([n for n, p in parameters.items() if p.grad is not None]))
        for parameter in parameters.values()
    ]
    diagonal_fisher(parameters, watched, batches)
    assert len(held) == 3 * (1 + len(handles))
    assert all(names == [] for names in held)


def test_hooks_are_gone_afterwards(network, batches):
    parameters = dict(network.named_parameters())
    found = diagonal_fisher(parameters, loss_of(network), batches)
    before = {name: square.clone() for name, square in found.items()}
    loss_of(network)(batches[0]).backward()
    assert all(parameter.grad is not None for parameter in parameters.values())
    assert all(torch.equal(found[name], before[name]) for name in found)


def test_it_foretells_what_rounding_costs_at_a_minimum():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 6, generator=draw) * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.3, 0.1])
    truth = torch.randn(6, 1, generator=draw) / 3
    labels = (torch.rand(4000, 1, generator=draw) < torch.sigmoid(x @ truth)).float()
    weight = truth.T.clone().requires_grad_()
    fit = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        fit.zero_grad()
        loss = F.binary_cross_entropy_with_logits(x @ weight.T, labels)
        loss.backward()
        return loss

    fit.step(closure)

    def loss(batch):
        return F.binary_cross_entropy_with_logits(x[batch] @ weight.T, labels[batch])

    rows = torch.arange(4000).split(1)
    fisher = diagonal_fisher({"w": weight}, loss, rows)["w"]
    base = float(loss(slice(None)).detach())
    for seed in range(5):
        change = 0.1 * torch.randn(1, 6, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            weight += change
            grown = float(loss(slice(None))) - base
            weight -= change
        assert 0.5 * weighted_distance(weight, weight + change, fisher) == pytest.approx(grown, rel=0.35)


def test_choices_have_the_bytes_and_the_cost_of_their_sets():
    x = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    fisher = torch.arange(8.0)[:, None]
    sets = {"4 bits": Grid(4), "fp16": Float("fp16"), "groups of 5": Grid(4, 5)}
    grid, half = choices_of(x, sets, fisher)
    assert (grid.name, half.name) == ("4 bits", "fp16")
    assert grid.bytes == Grid(4).bytes(x.shape) < half.bytes == 256
    expected = float((fisher * (x - Grid(4).nearest(x)).square()).sum())
    assert grid.cost == pytest.approx(expected, rel=1e-5)
    assert half.cost < grid.cost
    (vector,) = choices_of(x[0], sets, torch.ones(16))
    assert vector.name == "fp16"
