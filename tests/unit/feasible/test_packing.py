"""Codes in words: against a twin that sets bit after bit."""

import hypothesis.strategies as st
import torch
from hypothesis import given

from proxtune.feasible.packing import pack, unpack, words_for


def twin(row, bits):
    """The words of one row, bit by bit."""
    stream = []
    for code in row:
        stream += [(code + (1 << (bits - 1))) >> place & 1 for place in range(bits)]
    stream += [0] * (-len(stream) % 32)
    words = [sum(bit << place for place, bit in enumerate(stream[at : at + 32])) for at in range(0, len(stream), 32)]
    return [word - (1 << 32) if word >= 1 << 31 else word for word in words]


@given(st.integers(2, 8), st.integers(1, 3), st.integers(1, 100), st.integers(0, 1000))
def test_the_words_are_those_of_the_twin(bits, rows, columns, seed):
    draw = torch.Generator().manual_seed(seed)
    codes = torch.randint(-(1 << (bits - 1)), 1 << (bits - 1), (rows, columns), generator=draw, dtype=torch.int8)
    packed = pack(codes, bits)
    assert packed.dtype == torch.int32
    assert packed.shape == (rows, words_for(columns, bits))
    assert packed.tolist() == [twin(row, bits) for row in codes.tolist()]
    assert torch.equal(unpack(packed, bits, columns), codes)


def test_more_rows_than_are_packed_at_once():
    codes = torch.arange(-4, 4, dtype=torch.int8).repeat(3000, 50)
    packed = pack(codes, 3)
    assert torch.equal(packed, pack(codes[:1], 3).expand(3000, -1))
    assert torch.equal(unpack(packed, 3, 400), codes)
