"""Random bits by name: the published vectors, fair coins, and the same whatever else is asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.optim.philox import dither, philox, signs

words = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_words(counter, key, expected):
    assert " ".join(f"{word:08x}" for word in philox(counter, key).tolist()) == expected
    tensors = tuple(torch.tensor([word]) for word in counter)
    assert " ".join(f"{word:08x}" for word in philox(tensors, key)[0].tolist()) == expected


def slow_philox(counter, key):
    """The twin in Python's own whole numbers, one block at a time."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ c3 ^ k1, p0 & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


@settings(max_examples=50, deadline=None)
@given(st.tuples(words, words, words, words), st.tuples(words, words))
def test_philox_agrees_with_its_slow_twin(counter, key):
    tensors = tuple(torch.tensor([word, 1]) for word in counter)
    assert philox(tensors, key)[0].tolist() == slow_philox(counter, key)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**63), st.integers(0, 10**6), st.integers(0, 500), st.integers(1, 9), st.integers(1, 400))
def test_a_sign_depends_on_its_name_alone(seed, step, stream, neighbours, length):
    (found,) = signs(seed, step, [(stream, length)], neighbours)
    assert found.shape == (neighbours, length)
    assert set(found.unique().tolist()) <= {-1, 1}
    _, more, _ = signs(seed, step, [(stream + 7, 5), (stream, length + 77), (stream + 1, 300)], neighbours + 3)
    assert torch.equal(more[:neighbours, :length], found)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**63), st.integers(0, 10**6), st.integers(0, 500), st.integers(0, 40), st.integers(0, 2000))
def test_a_sign_is_a_bit_of_a_word_by_name(seed, step, stream, neighbour, place):
    (found,) = signs(seed, step, [(stream, place + 1)], neighbour + 1)
    block, bit = divmod(place, 128)
    key = (seed & 0xFFFFFFFF, seed >> 32)
    word = slow_philox((block, neighbour, 2 * stream, step), key)[bit // 32]
    assert int(found[neighbour, place]) == 1 - 2 * (word >> bit % 32 & 1)


def test_signs_are_fair_and_do_not_follow_one_another():
    def drawn(seed, step, stream):
        return signs(seed, step, [(stream, 4096)], 64)[0]

    found = drawn(7, 3, 2).double()
    assert abs(float(found.mean())) < 4 / 512  # four deviations of 2¹⁸ fair coins
    likeness = (found @ found.T / 4096).fill_diagonal_(0)
    assert float(likeness.abs().max()) < 6 / 64
    for other in (drawn(8, 3, 2), drawn(7, 4, 2), drawn(7, 3, 3)):
        assert abs(float((found * other).mean())) < 4 / 512


def test_the_same_with_any_number_of_threads():
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(signs(1, 2, [(3, 5000)], 16)[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_dither_is_uniform_and_no_sign_again():
    found = dither(5, 1, [(0, 100_000)])[0].numpy()
    assert found.min() >= 0
    assert found.max() < 2**16
    counts = np.bincount(found >> 12, minlength=16)
    assert abs(counts - 6250).max() < 5 * np.sqrt(6250)
    assert not np.array_equal(dither(5, 2, [(0, 1000)])[0].numpy(), found[:1000])
    assert np.array_equal(dither(5, 1, [(4, 10), (0, 1000)])[1].numpy(), found[:1000])
