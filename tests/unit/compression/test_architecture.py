"""The structure of a small model: what is chosen fits, and the least size that is named works."""

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from proxtune.compression.architecture import Shapes, choose_structure, file_bytes
from proxtune.compression.weight_format import HALF_BITS
from proxtune.errors import UserError

BLOCK = ((384, 384), (384,)) * 4 + ((1536, 384), (1536,), (384, 1536), (384,))
SHAPES = Shapes(((512, 384), (384,), (768,)), ((30522, 384),), (BLOCK,) * 6)
USED, LEAST = 12_000, 2_000


def chosen(size: int):
    return choose_structure(SHAPES, size, USED, LEAST)


@given(st.integers(1_000, 120_000_000))
def test_what_is_chosen_fits_and_the_least_that_is_named_works(size):
    try:
        structure = chosen(size)
    except UserError as error:
        least = int(re.search(r"--size (\d+)KB", str(error))[1]) * 1000
        assert least > size
        assert file_bytes(SHAPES, chosen(least)) <= least
        return
    if structure is not None:
        assert file_bytes(SHAPES, structure) <= size
        assert LEAST <= structure.vocabulary <= 30522


def test_a_model_that_fits_stays_as_it_is():
    numbers = 512 * 384 + 384 + 768 + 30522 * 384 + 6 * sum(a * (b[0] if b else 1) for a, *b in BLOCK)
    assert chosen(4 * numbers + 50_000) is None
    half = chosen(4 * numbers - 1)
    assert (half.bits, half.vocabulary, half.blocks) == (HALF_BITS, 30522, 6)


def test_what_costs_less_goes_first():
    kept = [chosen(size) for size in (40_000_000, 21_000_000, 9_000_000, 6_000_000, 3_000_000)]
    assert [s.blocks for s in kept[:4]] == [6, 6, 6, 6]
    assert kept[4].blocks < 6
    assert [s.vocabulary == 30522 for s in kept] == [True, True, False, False, False]
    assert kept[2].vocabulary == USED  # all rows that texts use, before the third bit goes
    assert [s.bits for s in kept[2:4]] == [4, 3]


def test_groups_are_as_small_as_there_is_room_for():
    for size in range(5_000_000, 30_000_000, 1_000_000):
        structure = chosen(size)
        finer = [group for group in (32, 48, 64, 96, 128) if group < structure.group]
        assert all(file_bytes(SHAPES, replace(structure, group=group)) > size for group in finer)
    assert {chosen(size).group for size in range(5_000_000, 30_000_000, 1_000_000)} > {32, 128}


def test_groups_divide_every_row():
    assert choose_structure(Shapes((), ((100, 96),), (((96, 192),),)), 20_000, 50, 10).group == 48
    assert choose_structure(Shapes((), ((100, 20),), (((20, 20),),)), 5_000, 50, 10).group == 0
