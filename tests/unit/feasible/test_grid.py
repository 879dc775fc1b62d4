"""Uniform grids: against every scale that float16 has, and against the bytes of what is saved."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from proxtune.feasible.grid import Grid
from proxtune.feasible.scales import LARGEST_SCALE, code_range

numbers = st.floats(-100, 100, width=16) | st.floats(-1, 1, width=32) | st.sampled_from([0.0, 1e-6, -1e-6, 65000.0])
groups = st.lists(numbers, min_size=1, max_size=6).map(lambda row: torch.tensor([row]))
bits = st.integers(2, 8)
dtypes = st.sampled_from([torch.float16, torch.float32])
every_scale = torch.arange(1, 1 << 15, dtype=torch.int16).view(torch.float16).double()
every_scale = every_scale[every_scale <= LARGEST_SCALE]
every_scale = torch.cat([every_scale, -every_scale])[:, None]


def least_distance(group, width):
    """The least squared distance over all scales and codes, by trying every scale."""
    lowest, highest = code_range(width)
    codes = (group.double() / every_scale).round()
    found = []
    for beside in (-1, 0, 1):  # products are rounded, so that a code next to the nearest may be nearer
        values = (codes + beside).clamp(lowest, highest) * every_scale
        found.append((group.double() - values.half().double()).square())
    return float(torch.stack(found).amin(0).sum(1).min())


def distance(x, y, importance=None):
    return float(((x.double() - y.double()).square() * (1.0 if importance is None else importance.double())).sum())


@settings(max_examples=60)
@given(groups, bits)
def test_no_point_of_the_whole_grid_is_nearer(group, width):
    near = Grid(width).nearest(group)
    least = least_distance(group, width)
    assert distance(group, near) ** 0.5 <= least**0.5 + float(group.double().norm()) / 1000


shares = st.sampled_from(["tensor", "row", 1, 2, 4])


@given(bits, shares, dtypes, st.integers(0, 10_000), st.sampled_from([1e-4, 0.05, 300.0]))
def test_the_nearest_is_on_the_grid_and_its_own_nearest(width, share, dtype, seed, size):
    grid = Grid(width, share, dtype)
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(seed)) * size
    near = grid.nearest(x)
    assert near.dtype == torch.float32
    assert grid.contains(near)
    assert torch.equal(grid.nearest(near), near)


def test_what_is_not_on_the_grid_is_not_contained():
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    assert not Grid(4).contains(x)
    near = Grid(4).nearest(x)
    near[2, 3] *= 1.01
    assert not Grid(4).contains(near)
    assert Grid(8).contains(Grid(4).nearest(x))
    assert not Grid(4).contains(Grid(8).nearest(x))


@given(bits, shares, dtypes, st.integers(0, 10_000))
def test_what_is_saved_has_the_bytes_that_were_promised_and_comes_back(width, share, dtype, seed):
    grid = Grid(width, share, dtype)
    x = torch.randn(5, 4 * (1 + seed % 9), generator=torch.Generator().manual_seed(seed))
    member = grid.coded(x)
    saved = grid.saved(member)
    assert sum(tensor.nbytes for tensor in saved.values()) == grid.bytes(x.shape)
    assert saved["weight_scale"].dtype == dtype
    back = grid.loaded(saved)
    assert torch.equal(grid.values(back), grid.values(member))
    width_of_scale = back.codes.to(dtype).view(back.scale.numel(), -1) * back.scale.view(-1, 1)
    assert torch.equal(grid.values(back), width_of_scale.float().view(x.shape))  # as compressed-tensors multiplies


@given(bits, st.integers(0, 10_000))
def test_with_a_given_scale_no_other_codes_are_nearer(width, seed):
    grid = Grid(width)
    draw = torch.Generator().manual_seed(seed)
    x, scale = torch.randn(2, 3, generator=draw), torch.tensor([[0.1], [-0.25]], dtype=torch.float16)
    near = grid.values(grid.coded_with(x, scale))
    lowest, highest = code_range(width)
    every = torch.arange(lowest, highest + 1)
    products = every.half() * scale[:, :, None]
    assert torch.equal((x - near).abs(), (x[:, :, None] - products.float()).abs().amin(2))


def test_importance_of_rows_changes_nothing_in_a_row():
    x = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    grid = Grid(3)
    assert torch.equal(grid.values(grid.coded(x, torch.arange(1.0, 7)[:, None])), grid.nearest(x))


def test_importance_of_numbers_does():
    x = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    importance = torch.rand(6, 16, generator=torch.Generator().manual_seed(1)) ** 4
    grid = Grid(2)
    weighted = grid.values(grid.coded(x, importance))
    assert distance(x, weighted, importance) < 0.99 * distance(x, grid.nearest(x), importance)


@pytest.mark.parametrize(
    ("shape", "share", "fits"),
    [
        ((4, 8), "row", True), ((4, 8), "tensor", True), ((4, 8), 4, True), ((4, 8), 3, False), ((8,), "row", False),
        ((0, 8), "row", False),
    ],
)  # fmt: skip
def test_which_shapes_fit(shape, share, fits):
    assert Grid(4, share).fits(shape) is fits


def test_zeros_and_what_is_too_small_for_any_scale_become_zero():
    x = torch.tensor([[0.0, 0.0], [1e-9, -1e-9], [1e-38, 0.0]])
    for width in (2, 8):
        assert torch.equal(Grid(width).nearest(x), torch.zeros_like(x))
