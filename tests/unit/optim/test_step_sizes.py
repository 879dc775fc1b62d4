"""The sizes of NNO: ε keeps its distance from curvature, η goes with it, and yields where a step did harm."""

import math
from dataclasses import replace

import pytest
import torch

from proxtune.optim.nno import NNO
from proxtune.optim.points import Points
from proxtune.optim.step_record import StepRecord
from proxtune.optim.step_sizes import Sizes, harmful

RECORD = StepRecord(0, 0, 0, spread=0.01, rate=0.04, rule="estimate", centre=1.0, losses=(0.9, 1.1, 1.0, 1.2))
DEVIATION = 0.1 * math.sqrt(1.25)


def test_eta_is_halved_by_harm_and_comes_back_slowly():
    sizes = Sizes.initial(0.01, None, neighbours=16, dimensions=10**6, tune_spread=False)
    first = sizes.rate
    assert first == pytest.approx(0.6 * 16 * 0.01, rel=1e-3)
    sizes = sizes.after(replace(RECORD, rule="taken back"))
    assert sizes.rate == first / 2
    rates = []
    for _ in range(20):
        sizes = sizes.after(RECORD)
        rates.append(sizes.rate)
    assert first / 2 < rates[0] < 0.6 * first
    assert rates == sorted(rates)
    assert rates[-1] == first


def test_more_neighbours_than_dimensions_tell_no_more():
    few, many = (Sizes.initial(0.01, None, count, dimensions=2, tune_spread=False).rate for count in (64, 4096))
    assert many == pytest.approx(few, rel=0.05)


def test_where_all_is_flat_the_spread_ends_somewhere():
    sizes = Sizes.initial(0.01, None, neighbours=4, dimensions=10, tune_spread=True)
    for _ in range(300):
        sizes = sizes.after(replace(RECORD, losses=(1.0,) * 4))
    assert sizes.spread == 100.0


@pytest.mark.parametrize(
    ("rate", "worse_by", "harm"),
    [(0.0, 2.9, False), (0.0, 3.1, True), (0.04, 5.9, False), (0.04, 6.1, True)],  # 0.04 = 2 ε √K: twice as long
)
def test_a_longer_step_may_look_worse_by_chance(rate, worse_by, harm):
    last = replace(RECORD, rate=rate)
    assert harmful(list(RECORD.losses), 1.0, 1.0 - worse_by * DEVIATION, last) is harm


def test_the_first_step_has_nothing_behind_it():
    assert not harmful([1.0, 2.0], 1e9, None, None)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_share_of_the_rate_is_a_share_of_the_step(share):
    places = []
    for asked in (1.0, share):
        points = Points([torch.tensor([1.0, 2.0, 3.0])])
        nno = NNO(points, neighbours=8, rule="estimate")
        record = nno.step(torch.zeros(1), points, lambda place, _: (place[0] ** 2).sum(), share=asked)
        assert record.rate == pytest.approx(asked * nno.sizes.most * record.spread)
        places.append(points.place.detach() - torch.tensor([1.0, 2.0, 3.0]))
    assert float(places[0].abs().max()) > 0
    torch.testing.assert_close(places[1], share * places[0], atol=1e-6, rtol=1e-4)
