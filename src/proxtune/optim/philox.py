"""Random bits that depend on nothing but their name, the same on every device and with any number of threads.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter of four
32-bit words and a key of two become four random words. There is no state to keep, and nothing to draw in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_BITS = 128  # of one block: four words
_SIGNS, _DITHER = 0, 1  # what a draw is for


def philox(counter: tuple[Tensor | int, Tensor | int, Tensor | int, Tensor | int], key: tuple[int, int]) -> Tensor:
    """Four random words for each counter: int64 in [0, 2³²), of the counters' broadcast shape and one axis of 4 more.

    Products of two 32-bit words wrap in int64, and the shift then carries the sign along: both are masked away.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = ((p1 >> 32) & _WORD) ^ c1 ^ k0, p1 & _WORD, ((p0 >> 32) & _WORD) ^ c3 ^ k1, p0 & _WORD
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return torch.stack(torch.broadcast_tensors(*(torch.as_tensor(word) for word in (c0, c1, c2, c3))), dim=-1)


def signs(
    seed: int, step: int, streams: Sequence[tuple[int, int]], neighbours: int, device: Any = "cpu"
) -> list[Tensor]:
    """±1, (neighbours, length) int8 for each (stream, length): the same for a stream whatever else is asked for."""
    blocks = [(2 * stream + _SIGNS, -(-length // _BITS)) for stream, length in streams]
    words = _words(seed, step, blocks, neighbours, device)
    octets = words.to(torch.int32).view(torch.uint8).unsqueeze(-1)  # (neighbours, blocks, 16, 1): low bits first
    bits = (octets >> torch.arange(8, dtype=torch.uint8, device=device)) & 1
    flat = bits.to(torch.int8).mul_(-2).add_(1).reshape(neighbours, -1)
    return _cut(flat, [count * _BITS for _, count in blocks], [length for _, length in streams])


def dither(seed: int, step: int, streams: Sequence[tuple[int, int]], device: Any = "cpu") -> list[Tensor]:
    """Random 16-bit numbers, (length,) int32, uniform in [0, 2¹⁶), for each (stream, length)."""
    blocks = [(2 * stream + _DITHER, -(-length // (_BITS // 16))) for stream, length in streams]
    words = _words(seed, step, blocks, 1, device)
    halves = torch.stack([words & 0xFFFF, words >> 16], dim=-1).to(torch.int32).reshape(1, -1)
    cut = _cut(halves, [count * (_BITS // 16) for _, count in blocks], [length for _, length in streams])
    return [own[0] for own in cut]


def _words(seed: int, step: int, blocks: Sequence[tuple[int, int]], neighbours: int, device: Any) -> Tensor:
    """Random words, (neighbours, all blocks, 4) int64, for each (stream, number of blocks): one call for all of them."""
    counts = torch.tensor([count for _, count in blocks])
    stream = torch.tensor([stream for stream, _ in blocks]).repeat_interleave(counts)
    block = torch.arange(len(stream)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    neighbour = torch.arange(neighbours).unsqueeze(1)
    place = (block.unsqueeze(0).to(device), neighbour.to(device), stream.unsqueeze(0).to(device), step & _WORD)
    return philox(place, (seed & _WORD, (seed >> 32) & _WORD))


def _cut(flat: Tensor, widths: list[int], lengths: list[int]) -> list[Tensor]:
    """The beginnings, `lengths` long, of pieces `widths` wide of the last axis."""
    return [own[:, :length] for own, length in zip(flat.split(widths, dim=1), lengths, strict=True)]
