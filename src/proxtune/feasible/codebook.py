"""Codebooks: a tensor of at most 2^bits different numbers, each a float16, and a code that says which one stands where.

To find the numbers is k-means in one dimension. There the best clusters are intervals, so dynamic programming over the sorted
numbers finds the least distance (Wang and Song 2011). With many it runs over the means of 1,024 groups of them, and Lloyd's
iteration with all continues from there: a local optimum, 0.2 % above the least on normal weights at 4 bits. No public backend of
transformers unpacks codebooks of one dimension at present.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from proxtune.feasible.packing import pack, unpack, words_for

_EXACT = 1024  # different numbers
_ROUNDS = 8  # of Lloyd's iteration


@dataclass(frozen=True, slots=True)
class Codebook:
    """At most 2^`bits` different numbers, 1 to 8 bits, of float16."""

    bits: int

    def __post_init__(self) -> None:
        assert 1 <= self.bits <= 8

    def fits(self, shape: Sequence[int]) -> bool:
        """A matrix that is smaller so than in fp16."""
        return len(shape) == 2 and prod(shape) > 0 and self.bytes(shape) < 2 * prod(shape)

    def contains(self, x: Tensor) -> bool:
        """Exact."""
        different = x.float().unique()
        return len(different) <= 1 << self.bits and bool((different.half().float() == different).all())

    def nearest(self, x: Tensor) -> Tensor:
        """Exact for up to 1,024 different numbers; a local optimum beyond."""
        if self.contains(x):
            return x.float()
        numbers, counts = np.unique(x.double().numpy(), return_counts=True)
        find = _by_intervals if len(numbers) <= _EXACT else _by_groups
        book = torch.from_numpy(np.unique(find(numbers, counts, 1 << self.bits))).float()
        return book[_codes(x.float(), book)]

    def bytes(self, shape: Sequence[int]) -> int:
        """Bytes of codes, numbers and shape."""
        rows, columns = shape
        return rows * words_for(columns, self.bits) * 4 + (2 << self.bits) + 2 * 8

    def saved(self, x: Tensor) -> dict[str, Tensor]:
        """A member as codes and a full book of numbers."""
        book = x.float().unique()
        codes = _codes(x.float(), book) - (1 << (self.bits - 1))
        full = torch.zeros(1 << self.bits, dtype=torch.float16)
        full[: len(book)] = book.half()
        return {"codes": pack(codes, self.bits), "book": full, "shape": torch.tensor(x.shape)}

    def loaded(self, saved: dict[str, Tensor]) -> Tensor:
        """The member that `saved` turned into tensors."""
        codes = unpack(saved["codes"], self.bits, int(saved["shape"][1])).long() + (1 << (self.bits - 1))
        return saved["book"].float()[codes]


def _codes(x: Tensor, book: Tensor) -> Tensor:
    """The place of the nearest number in the sorted book."""
    middles = (book[1:].double() + book[:-1].double()) / 2
    return torch.bucketize(x.double(), middles)


def _half(numbers: np.ndarray) -> np.ndarray:
    most = float(np.finfo(np.float16).max)
    return np.clip(numbers, -most, most).astype(np.float16).astype(np.float64)


def _by_intervals(numbers: np.ndarray, counts: np.ndarray, most: int) -> np.ndarray:
    """The best centres by dynamic programming: least[j] is the least distance of the first j numbers in so many intervals."""
    size = len(numbers)
    count, first, second = (np.concatenate([[0.0], np.cumsum(counts * numbers**power)]) for power in range(3))
    one, other = np.meshgrid(np.arange(size + 1), np.arange(size + 1), indexing="ij")  # the interval from one to other
    inside = np.where(other > one, count[other] - count[one], 1.0)
    total = first[other] - first[one]
    centre = _half(total / inside)
    distance = (second[other] - second[one]) - 2 * centre * total + centre**2 * inside
    distance[other <= one] = np.inf
    least, begins = distance[0].copy(), [np.zeros(size + 1, dtype=np.int64)]
    for _ in range(1, min(most, size)):
        through = least[:, None] + distance
        begins.append(through.argmin(0))
        least = through.min(0)
    centres, end = [], size
    for begin in reversed(begins):
        centres.append(centre[begin[end], end])
        end = int(begin[end])
    return np.array(centres)


def _by_groups(numbers: np.ndarray, counts: np.ndarray, most: int, groups: int = _EXACT) -> np.ndarray:
    """Centres of many numbers: the best for the means of groups of them, then Lloyd's iteration with all."""
    share = np.cumsum(counts) / counts.sum()
    even = np.linspace(numbers[0], numbers[-1], groups // 2 + 1)[1:-1]  # for the tails
    often = numbers[np.searchsorted(share, np.arange(1, groups // 2) / (groups // 2))]  # for where most numbers are
    own = np.searchsorted(np.union1d(even, often), numbers)
    held = np.bincount(own, counts)
    means = np.bincount(own, counts * numbers)[held > 0] / held[held > 0]
    centres = np.unique(_by_intervals(means, held[held > 0], most))
    for _ in range(_ROUNDS):
        own = np.searchsorted((centres[1:] + centres[:-1]) / 2, numbers)
        held = np.bincount(own, counts, len(centres))
        total = np.bincount(own, counts * numbers, len(centres))
        centres = np.sort(np.where(held > 0, total / np.maximum(held, 1), centres))
    return _half(centres)
