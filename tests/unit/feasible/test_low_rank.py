"""Matrices of low rank: nothing of the rank is nearer than the cut decomposition."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from proxtune.feasible.low_rank import LowRank

shapes = st.tuples(st.integers(3, 12), st.integers(3, 12), st.integers(1, 3), st.integers(0, 1000))


@given(shapes)
def test_it_is_in_the_set_and_as_near_as_the_singular_values_left_out(shape):
    rows, columns, rank, seed = shape
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    near = LowRank(rank).nearest(x)
    assert LowRank(rank).contains(near)
    assert torch.equal(LowRank(rank).nearest(near), near)
    left_out = torch.linalg.svdvals(x.double())[rank:].square().sum()
    torch.testing.assert_close((x - near).double().square().sum(), left_out, rtol=1e-4, atol=1e-9)


@given(shapes)
def test_no_pair_of_factors_found_otherwise_is_nearer(shape):
    rows, columns, rank, seed = shape
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=draw).double()
    right = torch.randn(rank, columns, generator=draw).double()
    for _ in range(30):  # alternating least squares
        left = torch.linalg.lstsq(right.T, x.T).solution.T
        right = torch.linalg.lstsq(left, x).solution
    near = LowRank(rank).nearest(x.float()).double()
    assert (x - near).square().sum() <= (x - left @ right).square().sum() * (1 + 1e-5) + 1e-10


def test_the_factors_have_the_bytes_that_were_promised_and_are_close():
    x = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    left, right = LowRank(4).factors(x)
    assert left.nbytes + right.nbytes == LowRank(4).bytes(x.shape)
    torch.testing.assert_close(left.float() @ right.float(), LowRank(4).nearest(x), rtol=0, atol=0.01)


@pytest.mark.parametrize(("shape", "fits"), [((10, 10), True), ((6, 6), False), ((100,), False)])
def test_where_it_is_worth_while(shape, fits):
    assert LowRank(3).fits(shape) is fits


def test_what_has_a_higher_rank_is_not_contained():
    assert not LowRank(2).contains(torch.eye(3))
    assert LowRank(3).contains(torch.eye(3))
    assert LowRank(1).contains(torch.zeros(3, 3))
