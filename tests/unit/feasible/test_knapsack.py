"""The exact part of the allocation: against every combination, within a gap, and no further than memory allows."""

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from proxtune.feasible import knapsack
from proxtune.feasible.knapsack import Options, best_sum

options = st.lists(st.tuples(st.integers(1, 30), st.floats(0, 100)), min_size=1, max_size=4)
problems = st.lists(options, min_size=1, max_size=5)


def arrays(problem):
    """What a tensor may choose; the least of its reduced costs is zero."""
    return [
        Options(np.array([size for size, _ in own]), np.array([cost - min(c for _, c in own) for _, cost in own]))
        for own in problem
    ]


def over_the_bound(tensors, picked, limit, price):
    """What an allocation costs more than the bound: its reduced costs, and what it leaves unused."""
    size = sum(int(own.bytes[at]) for own, at in zip(tensors, picked, strict=True))
    return sum(own.reduced[at] for own, at in zip(tensors, picked, strict=True)) + price * (limit - size), size


@given(problems, st.integers(0, 120), st.floats(0, 10), st.floats(0, 300))
def test_within_the_gap_no_combination_is_better(problem, limit, price, gap):
    tensors = arrays(problem)
    every = [
        over_the_bound(tensors, picked, limit, price)
        for picked in itertools.product(*(range(len(own)) for own in problem))
    ]
    least = min((over for over, size in every if size <= limit), default=None)
    picked = best_sum(tensors, limit, price, gap)
    if picked is None:
        assert least is None or least > gap - 1e-9
        return
    over, size = over_the_bound(tensors, picked, limit, price)
    assert size <= limit
    assert over == pytest.approx(least, rel=1e-9, abs=1e-9)


def test_the_choices_are_in_the_order_of_the_tensors():
    wide = Options(np.array([1, 100]), np.array([5.0, 0.0]))
    narrow = Options(np.array([3, 2, 1]), np.array([0.0, 1.0, 2.0]))
    turned = Options(np.array([1, 3]), np.array([2.0, 0.0]))
    assert best_sum([narrow, wide, turned], 103, 0.0, 10.0) == [1, 1, 0]


def test_no_tensors_choose_nothing():
    assert best_sum([], 10, 1.0, 100.0) == []


def test_more_open_sums_than_memory_allows_are_refused(monkeypatch):
    monkeypatch.setattr(knapsack, "_MOST_SUMS", 2)
    own = Options(np.array([1, 2, 3]), np.array([2.0, 1.0, 0.0]))
    with pytest.raises(OverflowError, match="more than 2 partial sums"):
        best_sum([own, own], 100, 0.0, 100.0)
