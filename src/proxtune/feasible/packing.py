"""Codes of 2 to 8 bits in 32-bit words, without a gap: the form of compressed-tensors' `pack-quantized`.

Code i of a row, plus 2^(bits-1) so that it is not negative, takes the bits i·bits … i·bits + bits - 1 of the row, lowest first;
the row ends with zeros up to a whole word. Eight codes are `bits` bytes: that is how they are put together here.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor
from torch.nn import functional as F

assert sys.byteorder == "little", "words are put together from bytes, lowest first"

_WORD = 32
_AT_ONCE = 1 << 19  # codes: they are 64 bits each on the way


def words_for(columns: int, bits: int) -> int:
    """32-bit words of a row of `columns` codes."""
    return -(-columns * bits // _WORD)


def pack(codes: Tensor, bits: int) -> Tensor:
    """(rows, columns) integers in [-2^(bits-1), 2^(bits-1) - 1] → (rows, words) int32."""
    rows, columns = codes.shape
    packed = torch.empty(rows, words_for(columns, bits), dtype=torch.int32)
    step = max(1, _AT_ONCE // max(1, columns))
    for begin in range(0, rows, step):
        packed[begin : begin + step] = _pack(codes[begin : begin + step], bits)
    return packed


def _pack(codes: Tensor, bits: int) -> Tensor:
    rows, columns = codes.shape
    whole = F.pad(codes.to(torch.int64) + (1 << (bits - 1)), (0, -columns % _WORD))
    eights = (whole.view(rows, -1, 8) << _shifts(bits)).sum(-1)  # each in the lowest `bits` bytes of 64
    in_bytes = eights.view(torch.uint8).view(rows, -1, 8)[:, :, :bits].reshape(rows, -1)
    return in_bytes.contiguous().view(torch.int32)[:, : words_for(columns, bits)]


def unpack(packed: Tensor, bits: int, columns: int) -> Tensor:
    """(rows, words) int32 → (rows, columns) int8: what `pack` was given."""
    rows = len(packed)
    codes = torch.empty(rows, columns, dtype=torch.int8)
    step = max(1, _AT_ONCE // max(1, columns))
    for begin in range(0, rows, step):
        codes[begin : begin + step] = _unpack(packed[begin : begin + step], bits, columns)
    return codes


def _unpack(packed: Tensor, bits: int, columns: int) -> Tensor:
    rows, eights = len(packed), -(-columns // _WORD) * 4
    in_bytes = packed.contiguous().view(torch.uint8).view(rows, -1)
    in_bytes = F.pad(in_bytes, (0, eights * bits - in_bytes.shape[1])).view(rows, eights, bits)
    whole = F.pad(in_bytes, (0, 8 - bits)).contiguous().view(torch.int64)  # (rows, eights, 1)
    codes = (whole >> _shifts(bits)) & ((1 << bits) - 1)
    return (codes.view(rows, -1)[:, :columns] - (1 << (bits - 1))).to(torch.int8)


def _shifts(bits: int) -> Tensor:
    return torch.arange(8) * bits
