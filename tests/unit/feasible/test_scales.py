"""The scale of a group of numbers: against every scale that float16 has, and found again in what is on the grid."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from proxtune.feasible.scales import (
    LARGEST_SCALE,
    LEAST_SCALE,
    code_range,
    exact_scales,
    own_scales,
    searched_scales,
    stored,
    times,
)

numbers = st.floats(-100, 100, width=16) | st.floats(-1, 1, width=32) | st.sampled_from([0.0, 1e-6, -1e-6, 65000.0])
groups = st.lists(numbers, min_size=1, max_size=6).map(lambda row: torch.tensor([row]))
bits = st.integers(2, 8)
dtypes = st.sampled_from([torch.float16, torch.float32])
every_scale = torch.arange(1, 1 << 15, dtype=torch.int16).view(torch.float16).double()
every_scale = every_scale[every_scale <= LARGEST_SCALE]
every_scale = torch.cat([every_scale, -every_scale])[:, None]


def nearest(groups, scales, width):
    """Codes times scales where products are not rounded, float64."""
    steps = scales.double()[:, None]
    return (groups.double() / steps).round().clamp(*code_range(width)) * steps


def distance(x, y, importance=None):
    return float(((x.double() - y.double()).square() * (1.0 if importance is None else importance.double())).sum())


def least_distance(group, width, importance=None):
    """The least squared distance over all scales, by trying every one."""
    values = (group.double() / every_scale).round().clamp(*code_range(width)) * every_scale
    weight = 1.0 if importance is None else importance.double()
    return float(((group.double() - values).square() * weight).sum(1).min())


@settings(max_examples=60)
@given(groups, bits, st.booleans(), st.data())
def test_no_scale_is_nearer(group, width, weighted, data):
    size, importance = group.shape[1], None
    if weighted:
        importance = torch.tensor([data.draw(st.lists(st.floats(0.125, 10, width=16), min_size=size, max_size=size))])
    scale = exact_scales(group, width, torch.float16, importance).double()
    assert torch.equal(scale.half().double(), scale)
    near = (group.double() / scale).round().clamp(*code_range(width)) * scale
    least = least_distance(group, width, importance)
    assert distance(group, near, importance) <= least + 1e-13 * distance(group, torch.zeros(1), importance)


@pytest.mark.parametrize(
    ("width", "size", "over"),
    [(2, 128, 1.001), (3, 128, 1.001), (4, 128, 1.001), (6, 128, 1.01), (8, 128, 1.03), (4, 32, 1.01), (8, 32, 1.12)],
)
def test_the_search_is_as_near_as_it_says(width, size, over):
    draw = torch.Generator().manual_seed(width)
    x = torch.randn(100, size, generator=draw)
    x = torch.cat([x, x * torch.randn(100, size, generator=draw).abs()])  # with longer tails
    reached = {
        fit: distance(x, nearest(x, fit(x, width, torch.float16), width)) for fit in (exact_scales, searched_scales)
    }
    assert reached[exact_scales] <= reached[searched_scales] * (1 + 1e-6)
    assert reached[searched_scales] <= over * reached[exact_scales]


@given(bits, dtypes, st.integers(0, 10_000), st.floats(1e-4, 200))
def test_what_is_on_the_grid_is_known_with_a_scale_of_it(width, dtype, seed, size):
    draw = torch.Generator().manual_seed(seed)
    codes = torch.randint(*code_range(width), (3, 7), generator=draw).float()
    scale = stored(torch.randn(3, generator=draw) * size, dtype)[:, None]
    x = times(codes, scale, dtype)
    found, on_grid = own_scales(x, width, dtype)
    assert on_grid.all()
    assert torch.equal(times((x / found[:, None]).round(), found[:, None], dtype), x)


def test_what_is_not_on_the_grid_and_what_is_all_zero():
    scale, on_grid = own_scales(torch.tensor([[1.0, 0.3], [0.0, 0.0], [2.0, -1.0]]), 2, torch.float16)
    assert on_grid.tolist() == [False, True, True]
    assert scale[1] == 1


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9), dtypes)
def test_a_stored_scale_is_within_bounds_and_is_stored_as_it_is(scales, dtype):
    kept = stored(torch.tensor(scales), dtype)
    assert ((kept.abs() >= LEAST_SCALE) & (kept.abs() <= LARGEST_SCALE)).all()
    assert torch.equal(stored(kept, dtype), kept)


def test_codes_reach_one_further_down_than_up():
    assert [code_range(width) for width in (2, 4, 8)] == [(-2, 1), (-8, 7), (-128, 127)]
