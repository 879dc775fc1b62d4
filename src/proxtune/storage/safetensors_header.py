"""The header of a safetensors file, checked before anything is believed of it: a length of 8 bytes, JSON, then the numbers.

A header is untrusted input. It may name a petabyte, a million tensors, the same tensor twice, or bytes that
are not there; it is refused before memory is taken for any of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.errors import UserError

MOST_HEADER_BYTES = 4_000_000  # of ten thousand tensors: 1.5 MB
MOST_TENSORS = 50_000
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4,
    "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
_MOST_NAME, _MOST_AXES = 1000, 16


class BadTensors(UserError):
    """A file of tensors that is damaged, or was made to do harm."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor: its dtype as the format names it, its shape, and its bytes from `begin` to `end` of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def count(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """The tensors of a file, in the order of their bytes, and what else the header says."""

    entries: dict[str, Entry]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """The header of `path`. Takes at most some ten times its 4 MB. Raises BadTensors that says what is wrong."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise BadTensors(f"{path} is no safetensors file: it ends inside its header")
        if length > MOST_HEADER_BYTES:
            raise BadTensors(f"{path} has a header of {length} bytes; {MOST_HEADER_BYTES} are the most that are read")
        raw = file.read(length)
    if raw.count(b'"data_offsets"') > MOST_TENSORS:
        raise BadTensors(f"{path} names more than {MOST_TENSORS} tensors")
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadTensors(f"{path} has a header that cannot be read: {str(error)[:100]}") from error
    if not isinstance(found, dict):
        raise BadTensors(f"{path} has a header that is no object")
    metadata = found.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BadTensors(f"{path} has metadata that are no words")
    entries = {name: _entry(path, name, value, 8 + length) for name, value in found.items()}
    return Header(_in_order(path, entries, 8 + length, size), metadata)


def check_files(folder: Path, names: Iterable[str], also: tuple[Path, ...] = ()) -> None:
    """Raises UserError for a file of `folder` that is a link to somewhere else than `folder` or the folders `also`."""
    allowed = [place.resolve() for place in (folder, *also)]
    for name in names:
        target = (folder / name).resolve()
        if not any(target.is_relative_to(place) for place in allowed):
            raise UserError(f"{folder / name} leads out of its folder, to {target}; it is not opened")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _entry(path: Path, name: str, value: Any, data_begin: int) -> Entry:
    wrong = BadTensors(f"{path}: tensor {name[:60]!r} is described wrongly")
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"} or len(name) > _MOST_NAME:
        raise wrong
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise BadTensors(f"{path}: tensor {name[:60]!r} has the unknown dtype {str(dtype)[:20]!r}")
    if not (isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2 and len(shape) <= _MOST_AXES):
        raise wrong
    if not all(type(number) is int and 0 <= number < 1 << 62 for number in (*shape, *offsets)):
        raise wrong
    begin, end = offsets
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise BadTensors(f"{path}: tensor {name[:60]!r} has {end - begin} bytes, which its shape does not")
    return Entry(dtype=dtype, shape=tuple(shape), begin=data_begin + begin, end=data_begin + end)


def _in_order(path: Path, entries: dict[str, Entry], begin: int, size: int) -> dict[str, Entry]:
    """The entries by place. They follow one another without a gap from the header to the end of the file."""
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
    place = begin
    for name, entry in ordered.items():
        if entry.begin != place:
            raise BadTensors(f"{path}: tensor {name[:60]!r} does not begin where the one before it ends")
        place = entry.end
    if place != size:
        raise BadTensors(f"{path} has {size} bytes, and its header tells of {place}")
    return ordered
