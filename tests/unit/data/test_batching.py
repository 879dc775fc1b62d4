"""Batches: a partition of the rows that the micro-batch does not touch, and micro-batches that fit."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from proxtune.data.batching import (
    collate,
    cut,
    epoch_batches,
    model_inputs,
    one_of_each_shape,
    padded,
    shape_of,
    sorted_batches,
)
from proxtune.data.dataset import Encoded
from proxtune.tasks.classification.objective import LABELS

lengths_of_rows = st.lists(st.integers(1, 70), min_size=1, max_size=120).map(np.array)
seeds, epochs, batch_sizes = st.integers(0, 2**31), st.integers(0, 50), st.integers(1, 40)


def rows_end_to_end(rows: list[list[int]]) -> Encoded:
    starts = np.cumsum([0, *(len(row) for row in rows)])
    flat = np.array([token for row in rows for token in row], dtype=np.int32)
    return Encoded(ids=flat, starts=starts, labels=np.zeros(len(rows), dtype=np.int64), truncated=0, objective=LABELS)


def halved(rows: list[int], lengths: np.ndarray, micro_tokens: int) -> list[list[int]]:
    """The obvious way: what does not fit is cut in two, the first part a power of two, and each part looked at again."""
    if len(rows) == 1 or len(rows) * (-(-max(lengths[row] for row in rows) // 8) * 8) <= micro_tokens:
        return [rows]
    half = max(2**power for power in range(10) if 2**power < len(rows))
    return halved(rows[:half], lengths, micro_tokens) + halved(rows[half:], lengths, micro_tokens)


@given(st.integers(1, 10_000))
def test_padded_is_the_next_multiple_of_eight(length):
    assert padded(length) % 8 == 0
    assert 0 <= padded(length) - length < 8


@given(lengths_of_rows, batch_sizes, seeds, epochs)
def test_an_epoch_has_every_row_once_in_full_batches(lengths, batch, seed, epoch):
    batches = epoch_batches(lengths, batch, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    sizes = sorted(len(rows) for rows in batches)
    assert sizes[1:] == [batch] * (len(sizes) - 1)
    assert 1 <= sizes[0] <= batch


@given(lengths_of_rows, batch_sizes, seeds, epochs)
def test_an_epoch_is_the_same_each_time_it_is_asked_for(lengths, batch, seed, epoch):
    first, again = (epoch_batches(lengths, batch, seed, epoch) for _ in range(2))
    assert [rows.tolist() for rows in first] == [rows.tolist() for rows in again]


@given(lengths_of_rows, batch_sizes, seeds)
def test_the_longest_row_comes_in_the_second_batch(lengths, batch, seed):
    batches = epoch_batches(lengths, batch, seed, 0)
    assert lengths[batches[min(1, len(batches) - 1)]].max() == lengths.max()


def test_another_seed_or_epoch_is_another_order():
    lengths = np.arange(1, 101)
    orders = {
        tuple(np.concatenate(epoch_batches(lengths, 8, seed, epoch)).tolist())
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))
    }
    assert len(orders) == 4


def test_rows_of_a_batch_are_of_like_length():
    lengths = np.random.default_rng(0).integers(1, 200, 512)
    waste = [np.ptp(lengths[rows]) for rows in epoch_batches(lengths, 16, 0, 0)]
    assert np.mean(waste) < np.ptp(lengths) / 8


@given(lengths_of_rows, st.integers(1, 600))
def test_cut_is_the_obvious_way_made_fast(lengths, micro_tokens):
    rows = np.arange(len(lengths))
    pieces = [piece.tolist() for piece in cut(rows, lengths, micro_tokens)]
    assert pieces == halved(sorted(rows.tolist(), key=lambda row: lengths[row]), lengths, micro_tokens)


@given(lengths_of_rows, st.integers(1, 600), seeds)
def test_cut_is_a_partition_and_every_piece_fits(lengths, micro_tokens, seed):
    rows = np.random.default_rng(seed).permutation(len(lengths))[: max(1, len(lengths) // 2)]
    pieces = cut(rows, lengths, micro_tokens)
    assert sorted(np.concatenate(pieces).tolist()) == sorted(rows.tolist())
    for piece in pieces:
        assert len(piece) == 1 or len(piece) * padded(int(lengths[piece].max())) <= micro_tokens


@given(st.lists(st.integers(1, 64), min_size=64, max_size=300).map(np.array), st.sampled_from([1, 2, 8, 32]), seeds)
def test_an_epoch_meets_few_shapes(lengths, micro_batch, seed):
    batches = [rows for rows in epoch_batches(lengths, 32, seed, 0) if len(rows) == 32]
    pieces = [piece for rows in batches for piece in cut(rows, lengths, micro_batch * 64)]
    assert {len(piece) for piece in pieces} <= {1, 2, 4, 8, 16, 32}
    each = one_of_each_shape(pieces, lengths)
    assert sorted({shape_of(piece, lengths) for piece in pieces}) == sorted(shape_of(piece, lengths) for piece in each)
    assert [rows * length for rows, length in (shape_of(piece, lengths) for piece in each)] == sorted(
        (rows * length for rows, length in (shape_of(piece, lengths) for piece in each)), reverse=True
    )


def test_cutting_nothing_gives_no_pieces():
    assert cut(np.array([], dtype=int), np.array([3, 4]), 64) == []


@given(lengths_of_rows, st.integers(1, 600))
def test_sorted_batches_go_from_short_to_long_over_all_rows(lengths, micro_tokens):
    order = np.concatenate(list(sorted_batches(lengths, micro_tokens)))
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert np.all(np.diff(lengths[order]) >= 0)


@given(st.lists(st.lists(st.integers(5, 99), min_size=1, max_size=30), min_size=1, max_size=12), st.data())
def test_collate_is_padding_on_the_right(rows, data):
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8))
    ids, mask = collate(rows_end_to_end(rows), np.array(chosen), pad_id=3)
    width = padded(max(len(rows[i]) for i in chosen))
    assert ids.tolist() == [rows[i] + [3] * (width - len(rows[i])) for i in chosen]
    assert mask.tolist() == [[1] * len(rows[i]) + [0] * (width - len(rows[i])) for i in chosen]


def test_a_model_is_given_the_types_of_the_tokens_of_pairs():
    data = rows_end_to_end([[5, 6, 7], [8]])
    assert list(model_inputs(data, np.array([0, 1]), 3)) == ["input_ids", "attention_mask"]
    inputs = model_inputs(replace(data, types=np.array([0, 1, 1, 1], dtype=np.int32)), np.array([0, 1]), pad_id=3)
    assert inputs["token_type_ids"][:, :4].tolist() == [[0, 1, 1, 0], [1, 0, 0, 0]]
    assert inputs["input_ids"][:, :3].tolist() == [[5, 6, 7], [8, 3, 3]]
    assert len({tuple(part.shape) for part in inputs.values()}) == 1
