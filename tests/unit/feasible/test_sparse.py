"""Sparse tensors: against every choice of the numbers that stay."""

import itertools

import hypothesis.strategies as st
import torch
from hypothesis import given

from proxtune.feasible.sparse import Sparse

rows = st.lists(st.floats(-70000, 70000, width=32) | st.floats(-1, 1, width=32) | st.just(0.0), min_size=1, max_size=7)


def distance(x, y):
    return float((x.double() - y.double()).square().sum())


@given(rows, st.integers(0, 7))
def test_no_choice_of_numbers_is_nearer(row, keep):
    x = torch.tensor(row)
    near = Sparse(keep).nearest(x)
    half = x.clamp(-65504, 65504).half().float()
    for places in itertools.combinations(range(len(row)), min(keep, len(row))):
        other = torch.zeros_like(x)
        other[list(places)] = half[list(places)]
        assert distance(x, near) <= distance(x, other) * (1 + 1e-12)
    assert Sparse(keep).contains(near)
    assert torch.equal(Sparse(keep).nearest(near), near)


@given(st.integers(1, 6), st.integers(1, 30), st.floats(0, 0.9), st.integers(0, 1000))
def test_what_is_saved_has_the_bytes_that_were_promised_and_comes_back(height, columns, share, seed):
    x = torch.randn(height, columns, generator=torch.Generator().manual_seed(seed))
    own = Sparse(int(share * x.numel()))
    near = own.nearest(x)
    saved = own.saved(near)
    assert sum(tensor.nbytes for tensor in saved.values()) == own.bytes(x.shape)
    assert torch.equal(own.loaded(saved, x.shape), near)


def test_it_fits_only_where_it_is_smaller_than_half_width():
    assert Sparse(937).fits((10, 100))
    assert not Sparse(938).fits((10, 100))
    assert not Sparse(11).fits((10,))


def test_what_is_not_sparse_is_not_contained():
    assert not Sparse(2).contains(torch.ones(3))
    assert not Sparse(3).contains(torch.tensor([0.1, 0.0]))  # no float16
    assert Sparse(3).contains(torch.ones(3))
