"""A finite set of points: the k nearest, by a tree and by all distances, against a sorted list."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from proxtune.feasible.point_set import PointSet


def drawn(number, dimensions, seed, places=6):
    draw = torch.Generator().manual_seed(seed)
    return PointSet(torch.randn(number, dimensions, generator=draw)), torch.randn(
        3, places * dimensions, generator=draw
    )


def twin(points, place, k):
    """The distances of the k nearest points, by sorting all of them."""
    apart = [
        (sum((a - b) ** 2 for a, b in zip(point, place, strict=True)) ** 0.5, at) for at, point in enumerate(points)
    ]
    return sorted(apart)[:k]


@settings(max_examples=40)
@given(
    st.sampled_from([(1, 1), (5, 2), (40, 3), (700, 2), (600, 8), (600, 9)]), st.integers(1, 4), st.integers(0, 1000)
)
def test_they_are_the_nearest_in_order(size, k, seed):
    points, x = drawn(*size, seed)
    k = min(k, size[0])
    found, distances = points.k_nearest(x, k)
    assert found.shape == distances.shape == (3, 6, k)
    for row in (0, 2):
        place = x.view(3, 6, -1)[row, 1].double().tolist()
        expected = twin(points.points.double().tolist(), place, k)
        assert found[row, 1].tolist() == [at for _, at in expected]
        assert distances[row, 1].tolist() == pytest.approx([apart for apart, _ in expected], rel=1e-5)


@given(st.sampled_from([(1, 1), (9, 2), (700, 2)]), st.integers(0, 1000))
def test_the_nearest_is_a_member_and_its_own_nearest(size, seed):
    points, x = drawn(*size, seed)
    near = points.nearest(x)
    assert near.shape == x.shape
    assert points.contains(near)
    assert torch.equal(points.nearest(near), near)
    assert not points.contains(x)


def test_bytes():
    points, x = drawn(256, 4, 0, places=8)
    assert points.bytes(x.shape) == 3 * 8 + 256 * 4 * 4  # a byte for each point of a row, and the points
    assert not points.fits((3, 6))
