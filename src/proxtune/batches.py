"""Batches: which rows learn together, in which order, and how a batch is cut to fit memory.

The order depends on the seed and the effective batch alone, never on the micro-batch, so that a step-down changes
nothing but the size of the bites.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from proxtune.tasks.classify import Encoded

_POOL = 16  # batches sorted by length together: little padding, order still random between pools
_PAD_TO = 8  # lengths are rounded up to this, so that kernels see few different shapes


def padded(length: int) -> int:
    """`length` rounded up to a multiple of 8."""
    return -(-length // _PAD_TO) * _PAD_TO


def epoch_batches(lengths: np.ndarray, batch: int, seed: int, epoch: int) -> list[np.ndarray]:
    """All rows once, in batches of `batch` rows of like length, shuffled by (seed, epoch).

    The last batch of the epoch may be smaller. Returns arrays of row numbers, each (≤ batch,).
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for begin in range(0, len(order), batch * _POOL):
        pool = order[begin : begin + batch * _POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + batch] for i in range(0, len(pool), batch)]
    return [batches[i] for i in random.permutation(len(batches))]


def sorted_batches(lengths: np.ndarray, micro_tokens: int) -> Iterator[np.ndarray]:
    """All rows once from short to long, each batch as large as `micro_tokens` padded tokens allow; for evaluation."""
    yield from cut(np.argsort(lengths, kind="stable"), lengths, micro_tokens)


def cut(rows: np.ndarray, lengths: np.ndarray, micro_tokens: int) -> list[np.ndarray]:
    """Cut a batch into micro-batches of at most `micro_tokens` padded tokens (at least one row each), short rows first."""
    ordered = rows[np.argsort(lengths[rows], kind="stable")]
    pieces: list[np.ndarray] = []
    begin = 0
    for end in range(1, len(ordered) + 1):
        # rows are ascending in length, so the piece [begin, end) is padded to its last row
        if end - begin > 1 and (end - begin) * padded(int(lengths[ordered[end - 1]])) > micro_tokens:
            pieces.append(ordered[begin : end - 1])
            begin = end - 1
    if begin < len(ordered):
        pieces.append(ordered[begin:])
    return pieces


def collate(data: Encoded, rows: np.ndarray, pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask of `rows`, both (rows, padded length) int64, padded on the right."""
    length = padded(int(data.lengths[rows].max()))
    ids = np.full((len(rows), length), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.int64)
    for i, row in enumerate(rows):
        tokens = data.ids[data.starts[row] : data.starts[row + 1]]
        ids[i, : len(tokens)] = tokens
        mask[i, : len(tokens)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)
