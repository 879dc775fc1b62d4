"""Random bits that depend on nothing but their name, the same on every device and with any number of threads.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter of four
32-bit words and a key of two become four random words. There is no state to keep, and nothing to draw in order.
"""

from __future__ import annotations

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


def signs(seed: int, step: int, stream: int, neighbours: int, length: int, device: Any = "cpu") -> Tensor:
    """±1, (neighbours, length) int8: those of neighbour k in `stream` are the same however many neighbours are asked for."""
    words = _words(seed, step, 2 * stream + _SIGNS, neighbours, -(-length // _BITS), device)
    places = torch.arange(32, device=device)
    bits = ((words.unsqueeze(-1) >> places) & 1).to(torch.int8)  # (neighbours, blocks, 4, 32)
    return (1 - 2 * bits).reshape(neighbours, -1)[:, :length]


def dither(seed: int, step: int, stream: int, length: int, device: Any = "cpu") -> Tensor:
    """Random 16-bit numbers, (length,) int32, uniform in [0, 2¹⁶)."""
    words = _words(seed, step, 2 * stream + _DITHER, 1, -(-length // (_BITS // 16)), device)
    halves = torch.stack([words & 0xFFFF, words >> 16], dim=-1)
    return halves.reshape(-1)[:length].to(torch.int32)


def _words(seed: int, step: int, stream: int, neighbours: int, blocks: int, device: Any) -> Tensor:
    """Random words, (neighbours, blocks, 4) int64."""
    block = torch.arange(blocks, device=device).unsqueeze(0)
    neighbour = torch.arange(neighbours, device=device).unsqueeze(1)
    return philox((block, neighbour, stream, step & _WORD), (seed & _WORD, (seed >> 32) & _WORD))
