"""The structure of a model that has to be small: rows of the vocabulary, blocks, and bits of a code, chosen before it learns.

Rows of the vocabulary that no text uses cost next to nothing, a grid little down to four bits, rows that few texts use and the
third bit more, and a block most. So the candidates stand in that order, and the first that fits in the bytes is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from proxtune.compression.weight_format import HALF_BITS
from proxtune.errors import UserError
from proxtune.feasible.packing import words_for

WHOLE_BITS = 32  # as it was trained
_GROUPS = (128, 96, 64, 48, 32)
_ENTRY_BYTES, _FILE_BYTES = 150, 100  # of a file's header for each tensor, and besides
_GOOD_BITS, _FEW_BITS, _LEAST_BITS = (8, 7, 6, 5, 4), 3, 2
_FEW_ROWS = 5  # one in so many of those that texts use: before there are fewer, a block goes


@dataclass(frozen=True, slots=True)
class Shapes:
    """The shapes of a model's parameters: of its blocks, of its token embedding, and others."""

    others: tuple[tuple[int, ...], ...]
    vocabulary: tuple[tuple[int, ...], ...]
    blocks: tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class Structure:
    """What is kept of a model, and the one width of codes and size of groups that a weight file has (0: a scale for each row)."""

    size_bytes: int
    bits: int
    group: int
    vocabulary: int
    blocks: int


def tensor_bytes(shape: tuple[int, ...], bits: int, group: int) -> int:
    """Bytes of a parameter in a weight file, its entries in the header included."""
    if bits >= HALF_BITS or len(shape) != 2:
        numbers = 1
        for length in shape:
            numbers *= length
        return numbers * (4 if bits == WHOLE_BITS else 2) + _ENTRY_BYTES
    rows, columns = shape
    scales = rows * (columns // group if group else 1)
    return rows * words_for(columns, bits) * 4 + 2 * scales + 16 + 3 * _ENTRY_BYTES


def file_bytes(shapes: Shapes, structure: Structure) -> int:
    """Bytes of the weight file of a model of that structure, every matrix in codes of its bits."""
    rows = [(structure.vocabulary, *shape[1:]) for shape in shapes.vocabulary]
    blocks = [shape for block in shapes.blocks[: structure.blocks] for shape in block]
    kept = [*shapes.others, *rows, *blocks]
    return _FILE_BYTES + sum(tensor_bytes(shape, structure.bits, structure.group) for shape in kept)


def choose_structure(shapes: Shapes, size_bytes: int, used: int, least: int) -> Structure | None:
    """The structure that costs least of those that fit in `size_bytes`; None where the model fits as it is.

    `used` rows of the vocabulary are met in the texts, and `least` of them are what any text can be written with. Raises
    UserError with the least size that could work.
    """
    group = _group_of(shapes)
    whole = Structure(
        size_bytes=size_bytes, bits=WHOLE_BITS, group=group, vocabulary=_rows(shapes), blocks=len(shapes.blocks)
    )
    if file_bytes(shapes, whole) <= size_bytes:
        return None
    for structure in _candidates(whole, shapes, used, least):
        if file_bytes(shapes, structure) <= size_bytes:
            return finest(shapes, structure)
    smallest = file_bytes(
        shapes, Structure(size_bytes=size_bytes, bits=_LEAST_BITS, group=group, vocabulary=least, blocks=1)
    )
    raise UserError(
        f"--size {size_bytes:,} bytes: the smallest that could work with this model is --size {-(-smallest // 10_000) * 10}KB "
        f"(one block, {_LEAST_BITS} bits); raise it, or choose a smaller --model"
    )


def finest(shapes: Shapes, structure: Structure) -> Structure:
    """The same in the smallest groups that fit: a scale for fewer numbers makes all of them nearer, at less than more bits cost.

    So what is allocated to single weights comes on top of the best that all can have alike.
    """
    if structure.bits >= HALF_BITS:
        return structure
    finer = (replace(structure, group=group) for group in sorted(_groups(shapes)))
    return next((found for found in finer if file_bytes(shapes, found) <= structure.size_bytes), structure)


def _candidates(whole: Structure, shapes: Shapes, used: int, least: int) -> Iterator[Structure]:
    """From what costs least to what costs most; of the vocabulary, once it is trimmed, as many rows as there is room for."""
    every = whole.blocks

    def trimmed(bits: int, blocks: int) -> Structure:
        smallest = Structure(size_bytes=whole.size_bytes, bits=bits, group=whole.group, vocabulary=least, blocks=blocks)
        row = file_bytes(shapes, replace(smallest, vocabulary=least + 1)) - file_bytes(shapes, smallest)
        room = (whole.size_bytes - file_bytes(shapes, smallest)) // max(1, row)
        return replace(smallest, vocabulary=max(least, min(used, least + room)))

    for bits in (HALF_BITS, *_GOOD_BITS[:-1]):
        yield replace(whole, bits=bits)
    for bits in _GOOD_BITS:
        yield replace(whole, bits=bits, vocabulary=used)
    half = trimmed(_GOOD_BITS[-1], every)
    if half.vocabulary >= used // 2:
        yield half
    for share in (_FEW_ROWS, used):
        for blocks in range(every, 0, -1):
            for bits in (_FEW_BITS, _GOOD_BITS[-1]) if blocks == every else (_GOOD_BITS[-1], _FEW_BITS):
                fewer = trimmed(bits, blocks)
                if fewer.vocabulary >= used // share:
                    yield fewer
    yield Structure(size_bytes=whole.size_bytes, bits=_LEAST_BITS, group=whole.group, vocabulary=least, blocks=1)


def _rows(shapes: Shapes) -> int:
    return shapes.vocabulary[0][0] if shapes.vocabulary else 0


def _group_of(shapes: Shapes) -> int:
    """The largest size of groups that divides the rows of every matrix; 0 where none does."""
    return max(_groups(shapes), default=0)


def _groups(shapes: Shapes) -> list[int]:
    """All sizes of groups that do."""
    everything = [*shapes.others, *shapes.vocabulary, *(shape for block in shapes.blocks for shape in block)]
    columns = {shape[1] for shape in everything if len(shape) == 2}
    return [group for group in _GROUPS if all(length % group == 0 for length in columns)]
