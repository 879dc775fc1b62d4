"""Codebooks: against every way to cut the sorted numbers, and against the bytes of what is saved."""

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from proxtune.feasible.codebook import Codebook, _by_groups, _by_intervals

rows = st.lists(st.floats(-8, 8, width=16) | st.floats(-1, 1, width=32), min_size=1, max_size=8)


def least_distance(numbers, most):
    """Over all cuts of the sorted numbers into so many intervals, each with its best float16."""
    numbers = np.sort(np.array(numbers))
    found = []
    for cuts in itertools.combinations(range(1, len(numbers)), min(most, len(numbers)) - 1):
        parts = np.split(numbers, cuts)
        found.append(sum(((part - np.float64(np.float16(part.mean()))) ** 2).sum() for part in parts))
    return min(found)


@given(rows, st.integers(1, 3))
def test_no_book_is_nearer(row, bits):
    x = torch.tensor([row])
    near = Codebook(bits).nearest(x)
    distance = float((x.double() - near.double()).square().sum())
    assert distance <= least_distance(row, 1 << bits) + 1e-12
    assert Codebook(bits).contains(near)
    assert torch.equal(Codebook(bits).nearest(near), near)


@given(st.integers(1, 8), st.integers(1, 40), st.integers(0, 1000))
def test_what_is_saved_has_the_bytes_that_were_promised_and_comes_back(bits, columns, seed):
    x = torch.randn(4, columns, generator=torch.Generator().manual_seed(seed))
    book = Codebook(bits)
    near = book.nearest(x)
    saved = book.saved(near)
    assert sum(tensor.nbytes for tensor in saved.values()) == book.bytes(x.shape)
    assert torch.equal(book.loaded(saved), near)


@pytest.mark.parametrize("most", [4, 16, 64])
def test_with_groups_it_is_close_to_the_best(most):
    numbers = np.sort(np.random.default_rng(0).laplace(size=1000))
    counts = np.random.default_rng(1).integers(1, 4, 1000)
    exact, grouped = (
        (counts * np.abs(numbers[:, None] - centres).min(1) ** 2).sum()
        for centres in (_by_intervals(numbers, counts, most), _by_groups(numbers, counts, most, groups=250))
    )
    assert exact <= grouped <= 1.03 * exact


def test_many_numbers():
    x = torch.randn(60, 100, generator=torch.Generator().manual_seed(0))
    x[:20] = 0
    near = Codebook(3).nearest(x)
    assert Codebook(3).contains(near)
    assert not Codebook(2).contains(near)
    assert not Codebook(3).contains(x)
    assert float((x - near).square().mean()) < 0.04  # of eight equal steps: 0.05


def test_where_it_is_worth_while():
    assert Codebook(8).fits((64, 64))
    assert not Codebook(8).fits((8, 8))
    assert not Codebook(4).fits((64,))
