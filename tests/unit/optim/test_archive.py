"""The archive: the slope through the nearest points, beside a twin that solves for every constant."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from proxtune.optim.archive import WHOLE, Archive, dimensions_of
from proxtune.optim.neighbours import directions
from proxtune.optim.nno import NNO
from proxtune.optim.points import Points
from proxtune.optim.sites import sites_of
from proxtune.optim.step_record import StepRecord

SPREAD = 0.1


def filled(function, start, steps, seed=0, neighbours=4, asked=False):
    """An archive that has seen `steps` steps along a walk from `start`, and the model where it ended."""
    points, walk = Points([torch.tensor(start)]), np.random.default_rng(seed)
    sites = sites_of(points)
    archive = Archive(dimensions_of(sites))
    for step in range(steps):
        if asked and step:
            archive.slope(sites, SPREAD)
        here = points.place.detach().double().numpy()
        ways = directions(sites, seed, step, neighbours)
        around = here + SPREAD * ways.rows[0].numpy().astype(float)
        losses = tuple(function(place, step) for place in around)
        archive.remember(sites, ways, StepRecord(step, seed, 0, SPREAD, 0.0, "nearest", function(here, step), losses))
        with torch.no_grad():
            points.place += torch.from_numpy(walk.normal(size=len(here)) * SPREAD).float()
    return archive, sites


def slope_of(archive, sites):
    return archive.slope(sites, SPREAD)[0].double().numpy() / WHOLE


def twin(archive, sites):
    """The same least squares with a column for the constant of every step, written out."""
    here = sites[0].weight.detach().double().numpy()
    offsets = archive.places - here
    squares = (offsets**2).sum(1)
    near = sorted(range(len(squares)), key=lambda place: squares[place])[: archive.nearest]
    weights = np.array([1 / (1 + squares[place] / (SPREAD**2 * len(here))) for place in near])
    steps = sorted({archive.steps[place] for place in near})
    constants = np.array([[float(archive.steps[place] == step) for step in steps] for place in near])
    columns = np.hstack([offsets[near], constants]) * np.sqrt(weights)[:, None]
    within = columns[:, : len(here)] - constants_out(columns, len(here))
    ridge = np.sqrt(0.01 * (within**2).sum() / len(near))
    penalty = np.hstack([ridge * np.eye(len(here)), np.zeros((len(here), len(steps)))])
    wanted = np.concatenate([archive.losses[near] * np.sqrt(weights), np.zeros(len(here))])
    slope = np.linalg.lstsq(np.vstack([columns, penalty]), wanted, rcond=None)[0][: len(here)]
    return slope / np.linalg.norm(slope)


def constants_out(columns, dimensions):
    """What the columns of the constants explain of the others."""
    constants = columns[:, dimensions:]
    return constants @ np.linalg.lstsq(constants, columns[:, :dimensions], rcond=None)[0]


@given(st.integers(2, 20), st.integers(1, 30), st.integers(0, 1000))
def test_the_slope_is_that_of_the_twin(dimensions, steps, seed):
    walk = np.random.default_rng(seed)
    curvature, height = walk.uniform(0.1, 3, dimensions), walk.normal(size=steps)
    archive, sites = filled(
        lambda place, step: float((curvature * place**2).sum() + height[step]), [1.0] * dimensions, steps, seed
    )
    np.testing.assert_allclose(slope_of(archive, sites), twin(archive, sites), atol=1e-5)


def test_a_plane_is_found_whatever_height_each_step_saw_it_at():
    normal = np.array([3.0, -4.0, 0.0, 12.0]) / 13
    archive, sites = filled(lambda place, step: float(5 * normal @ place + 100 * np.sin(step)), [0.5] * 4, 12)
    np.testing.assert_allclose(slope_of(archive, sites), normal, atol=0.01)


def test_points_far_away_do_not_count():
    archive, sites = filled(lambda place, step: float(place[0]), [0.0, 0.0], 20)
    alone = slope_of(archive, sites)
    archive.places = np.vstack([archive.places + 1000, archive.places])
    archive.losses = np.concatenate([-archive.losses, archive.losses])
    archive.steps = np.concatenate([archive.steps, archive.steps])
    np.testing.assert_allclose(slope_of(archive, sites), alone, atol=0.05)


def test_it_keeps_no_more_than_twice_what_a_slope_needs():
    archive, _ = filled(lambda place, step: 0.0, [1.0] * 30, 200)
    assert archive.nearest == 120
    assert len(archive.places) == len(archive.losses) == len(archive.steps) == 240
    assert archive.steps[-1] == 199


def test_where_all_is_flat_there_is_no_slope():
    archive, sites = filled(lambda place, step: 7.0, [1.0] * 3, 5)
    assert slope_of(archive, sites).tolist() == [0.0] * 3


def test_it_is_trusted_as_far_as_it_foretells():
    plain, _ = filled(lambda place, step: float(place.sum()), [1.0] * 5, 40, asked=True)
    noise = np.random.default_rng(3)
    blind, _ = filled(lambda place, step: float(noise.normal()), [1.0] * 5, 40, asked=True)
    assert plain.trust(4) == 1.0
    assert blind.trust(4) < 0.5
    assert blind.trust(4) >= 0.5 * (4 * 5 / 9) / (40 * 5 / 45)


def test_few_weights_use_it_and_many_do_not():
    assert NNO(torch.nn.Linear(16, 15)).rule == "nearest"
    assert NNO(torch.nn.Linear(16, 16)).rule == "estimate"
    assert NNO(torch.nn.Linear(16, 16), rule="nearest").rule == "nearest"
    with pytest.raises(ValueError, match="2048 weights at most"):
        NNO(torch.nn.Linear(64, 64), rule="nearest")


@pytest.mark.parametrize(("weights", "neighbours"), [(2, 4), (50, 10), (100, 14), (5000, 16)])
def test_how_many_neighbours_there_are_goes_with_the_weights(weights, neighbours):
    assert NNO(Points([torch.ones(weights)])).neighbours == neighbours


def test_it_wins_at_as_many_evaluations():
    curvature = torch.logspace(0, 2, 10)
    ends = {}
    for rule, rest in (("nearest", 1), ("estimate", 2)):
        points = Points([torch.ones(10)])
        nno = NNO(points, rule=rule)
        steps = 1000 // (nno.neighbours + rest)
        for step in range(steps):
            nno.step(torch.zeros(1), points, lambda place, _: (curvature * place[0] ** 2).sum(), share=1 - step / steps)
        ends[rule] = float((curvature * points.place.detach() ** 2).sum())
    assert ends["nearest"] < 0.1 * ends["estimate"]
