"""Batches: which rows learn together, in which order, and how a batch is cut to fit memory.

The order depends on the seed and the effective batch alone, never on the micro-batch, so that a step-down changes
nothing but the micro-batch size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from proxtune.data.dataset import Encoded

if TYPE_CHECKING:
    from torch import Tensor

_POOL = 16  # batches sorted by length together: little padding, order still random between pools
_PAD_TO = 8  # lengths are rounded up to this, so that kernels see few different shapes
EVALUATION_BATCH = 32  # rows; the usual batch, so that evaluation meets the shapes that training met


def padded(length: int) -> int:
    """`length` rounded up to a multiple of 8."""
    return -(-length // _PAD_TO) * _PAD_TO


def epoch_batches(lengths: np.ndarray, batch: int, seed: int, epoch: int) -> list[np.ndarray]:
    """All rows once, in batches of `batch` rows of like length, shuffled by (seed, epoch).

    The last batch of the epoch may be smaller. The second batch of the first epoch is the one with the longest row, so
    that what does not fit shows at once. Returns arrays of row numbers, each (≤ batch,).
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for begin in range(0, len(order), batch * _POOL):
        pool = order[begin : begin + batch * _POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + batch] for i in range(0, len(pool), batch)]
    shuffled = [batches[i] for i in random.permutation(len(batches))]
    if epoch == 0 and len(shuffled) > 1:
        longest = max(range(len(shuffled)), key=lambda i: lengths[shuffled[i]].max())
        shuffled[1], shuffled[longest] = shuffled[longest], shuffled[1]
    return shuffled


def rows_in(lengths: np.ndarray, batch: int, seed: int, steps: int) -> int:
    """Rows that the first `steps` batches have, over as many epochs as it takes."""
    epochs, more = divmod(steps, -(-len(lengths) // batch))
    return epochs * len(lengths) + sum(len(rows) for rows in epoch_batches(lengths, batch, seed, epochs)[:more])


def sorted_batches(lengths: np.ndarray, micro_tokens: int) -> Iterator[np.ndarray]:
    """All rows once from short to long, in pieces of at most 32 rows and `micro_tokens` padded tokens; for evaluation."""
    order = np.argsort(lengths, kind="stable")
    for begin in range(0, len(order), EVALUATION_BATCH):
        yield from cut(order[begin : begin + EVALUATION_BATCH], lengths, micro_tokens)


def cut(rows: np.ndarray, lengths: np.ndarray, micro_tokens: int) -> list[np.ndarray]:
    """Cut a batch into micro-batches of at most `micro_tokens` padded tokens (at least one row each), short rows first.

    By halves, the first a power of two: a batch of 32 becomes 32, 16, 8, … rows and nothing between, so that an epoch
    meets a dozen shapes instead of a hundred.
    """
    ordered = rows[np.argsort(lengths[rows], kind="stable")]
    pieces: list[np.ndarray] = []
    waiting = [ordered] if len(ordered) else []
    while waiting:
        piece = waiting.pop()
        if len(piece) == 1 or shape_of(piece, lengths)[0] * shape_of(piece, lengths)[1] <= micro_tokens:
            pieces.append(piece)
        else:
            half = 1 << (len(piece) - 1).bit_length() - 1
            waiting += [piece[half:], piece[:half]]
    return pieces


def shape_of(rows: np.ndarray, lengths: np.ndarray) -> tuple[int, int]:
    """(rows, padded length) of a micro-batch."""
    return len(rows), padded(int(lengths[rows].max()))


def one_of_each_shape(pieces: Iterable[np.ndarray], lengths: np.ndarray) -> list[np.ndarray]:
    """The first micro-batch of each shape, the largest first."""
    found: dict[tuple[int, int], np.ndarray] = {}
    for piece in pieces:
        found.setdefault(shape_of(piece, lengths), piece)
    return [found[shape] for shape in sorted(found, key=lambda shape: (-shape[0] * shape[1], shape))]


def collate(data: Encoded, rows: np.ndarray, pad_id: int) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask of `rows`, both (rows, padded length) int64, padded on the right."""
    import torch

    ids = _filled(data.ids, data.starts, rows, pad_id)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        mask[i, : data.starts[row + 1] - data.starts[row]] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def model_inputs(data: Encoded, rows: np.ndarray, pad_id: int) -> dict[str, Tensor]:
    """What a model is given of `rows`, by the names of its arguments: `collate`, and the types of the tokens of pairs."""
    import torch

    ids, mask = collate(data, rows, pad_id)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if data.types is not None:
        inputs["token_type_ids"] = torch.from_numpy(_filled(data.types, data.starts, rows, 0))
    return inputs


def _filled(values: np.ndarray, starts: np.ndarray, rows: np.ndarray, filler: int) -> np.ndarray:
    """The values of `rows`, (rows, padded length) int64, filled up on the right."""
    length = padded(int((starts[rows + 1] - starts[rows]).max()))
    found = np.full((len(rows), length), filler, dtype=np.int64)
    for i, row in enumerate(rows):
        own = values[starts[row] : starts[row + 1]]
        found[i, : len(own)] = own
    return found
