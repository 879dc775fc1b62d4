"""The allocation of bytes: against every combination there is."""

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from proxtune.feasible.allocation import Allocation, Choice, TooFewBytes, allocate, by_multiplier

costs = st.floats(0, 1000) | st.integers(0, 5).map(float) | st.floats(0, 1e-9)
choice = st.builds(Choice, st.just("a"), st.integers(1, 60), costs)
problems = st.lists(st.lists(choice, min_size=1, max_size=4), min_size=1, max_size=5).map(
    lambda each: {f"tensor {place}": own for place, own in enumerate(each)}
)


def twin(choices, limit):
    """The least cost over every combination that fits, or None."""
    combinations = itertools.product(*choices.values())
    return min(
        (sum(c.cost for c in each) for each in combinations if sum(c.bytes for c in each) <= limit), default=None
    )


def like_a_model(tensors=60, seed=0):
    """Costs that fall fourfold with each bit, as on uniform grids."""
    random = np.random.default_rng(seed)
    numbers, weight = random.integers(1000, 600_000, tensors), 10 ** random.normal(0, 1, tensors)
    return {
        f"tensor {place}": [
            Choice(f"{bits} bits", int(numbers[place]) * bits // 8 + 32, weight[place] * numbers[place] * 4.0**-bits)
            for bits in range(2, 9)
        ]
        for place in range(tensors)
    }


def library(choices, limit):
    """The least cost by HiGHS, which solves integer programs in general."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    flat = [(place, c) for place, own in enumerate(choices.values()) for c in own]
    belongs = np.array([[float(place == row) for place, _ in flat] for row in range(len(choices))])
    sizes, costs = np.array([c.bytes for _, c in flat], float), np.array([c.cost for _, c in flat])
    constraints = [LinearConstraint(belongs, 1, 1), LinearConstraint(sizes[None, :], -np.inf, limit)]
    answer = milp(costs, integrality=np.ones(len(flat)), bounds=Bounds(0, 1), constraints=constraints)
    picked = [c for (_, c), taken in zip(flat, answer.x, strict=True) if taken > 0.5]
    assert sum(c.bytes for c in picked) <= limit
    return sum(c.cost for c in picked)


@given(problems, st.integers(0, 300))
def test_it_is_the_best_of_all_combinations(choices, limit):
    found, least = allocate(choices, limit), twin(choices, limit)
    if least is None:
        assert found == TooFewBytes(limit, sum(min(c.bytes for c in own) for own in choices.values()))
        return
    assert list(found.chosen) == list(choices)
    assert all(found.chosen[name] in own for name, own in choices.items())
    assert found.bytes == sum(c.bytes for c in found.chosen.values()) <= limit
    assert found.cost == pytest.approx(sum(c.cost for c in found.chosen.values()))
    assert found.cost == pytest.approx(least, rel=1e-9, abs=1e-300)
    assert found.gap <= 1e-9 * found.cost


@given(problems, st.integers(0, 300))
def test_no_combination_costs_less_than_the_bound_of_the_multiplier(choices, limit):
    least = twin(choices, limit)
    if least is not None:
        found = by_multiplier({name: worthwhile(own) for name, own in choices.items()}, limit)
        assert found.bytes <= limit
        assert found.multiplier >= 0
        assert found.lower_bound <= least * (1 + 1e-9)
        assert found.cost >= least * (1 - 1e-9)


def worthwhile(own):
    """Without choices that another one is at least as good as in bytes and in cost."""
    own = sorted(set(own), key=lambda c: (c.bytes, c.cost))
    return [c for place, c in enumerate(own) if all(c.cost < before.cost for before in own[:place])]


@pytest.mark.parametrize(("tensors", "share"), [(40, 0.3), (60, 0.4), (60, 0.9), (150, 0.5)])
def test_a_solver_of_integer_programs_finds_nothing_better(tensors, share):
    choices = like_a_model(tensors)
    limit = int(share * sum(own[-1].bytes for own in choices.values()))
    found, quick = allocate(choices, limit), by_multiplier(choices, limit)
    assert isinstance(found, Allocation)
    assert found.bytes <= limit
    assert found.gap == 0
    assert found.solver == "exact"
    assert found.cost == pytest.approx(library(choices, limit), rel=1e-4)  # what HiGHS is content with
    assert quick.lower_bound <= found.cost <= quick.cost
    assert quick.gap <= 0.03 * quick.cost


def test_where_too_much_stays_open_the_gap_is_told(monkeypatch):
    monkeypatch.setattr("proxtune.feasible.knapsack._MOST_SUMS", 5)
    choices = like_a_model()
    found = allocate(choices, 10_000_000)
    assert isinstance(found, Allocation)
    assert found.solver == "multiplier"
    assert 0 < found.gap < 0.03 * found.cost


def test_it_beats_the_same_bits_for_all():
    choices = like_a_model()
    uniform = [own[2] for own in choices.values()]
    found = allocate(choices, sum(c.bytes for c in uniform))
    assert isinstance(found, Allocation)
    assert found.cost < 0.5 * sum(c.cost for c in uniform)


def test_the_multiplier_is_what_a_byte_saves():
    choices = like_a_model(400)
    limit = 60_000_000
    less, more = allocate(choices, limit), allocate(choices, limit + 100_000)
    assert isinstance(less, Allocation)
    assert isinstance(more, Allocation)
    assert (less.cost - more.cost) / 100_000 == pytest.approx(less.multiplier, rel=0.1)


def test_with_room_for_everything_each_gets_the_best_and_a_byte_is_worth_nothing():
    choices = like_a_model(5)
    found = allocate(choices, 10**9)
    assert isinstance(found, Allocation)
    assert found.multiplier == 0
    assert found.gap == 0
    assert all(own.name == "8 bits" for own in found.chosen.values())


def test_too_few_bytes_are_answered_with_the_least_that_would_do():
    choices = like_a_model(5)
    answer = allocate(choices, 10)
    assert isinstance(answer, TooFewBytes)
    assert isinstance(allocate(choices, answer.least_bytes), Allocation)
    assert isinstance(allocate(choices, answer.least_bytes - 1), TooFewBytes)


def test_nothing_to_allocate():
    assert allocate({}, 0) == Allocation({}, 0, 0.0, 0.0, 0.0, "multiplier")
