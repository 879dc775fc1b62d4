"""Streamed weights: frozen blocks stay in their files, and one of them at a time is in memory.

A model's weights are mapped from its files (`memory/mapped_files.py`). When a block computes, in the forward pass or the backward
pass, its pages come in; when the next one does, they go. Nothing is copied and nothing is recomputed, so the numbers are those of
a model that is resident, bit for bit. The tables beside the blocks, embeddings and head, come and go likewise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from proxtune.memory.mapped_files import MappedFile, let_go, mapped, read_ahead, whole_pages
from proxtune.models.introspection import LET_GO, block_lists, without_adapters
from proxtune.models.source import weight_files

CANNOT = "the weights of this model are laid out anew when they are loaded, so they cannot be streamed"
_LEAST_SHARE = 0.9  # of the frozen weights must lie in files: else letting go of them saves little
_TABLE_BYTES = 1 << 20  # of a weight beside the blocks that is worth a part of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What comes and goes together: the pages (address, bytes) of a block's frozen weights, or of a table's."""

    pages: tuple[tuple[int, int], ...]

    @property
    def bytes(self) -> int:
        """Of its whole pages."""
        return sum(count for _, count in self.pages)


@dataclass(slots=True)
class Stream:
    """The parts in the order in which they compute. State: the one that is in memory."""

    parts: list[Part] = field(default_factory=list)
    at: int | None = None

    def enter(self, number: int) -> None:
        """A part computes from now on: the one that did lets go of its pages, and the next is read ahead."""
        if number == self.at:
            return
        before, self.at = self.at, number
        if before is not None:
            let_go(self.parts[before].pages)
        coming = number + (1 if before is None or number > before else -1)
        if 0 <= coming < len(self.parts):
            read_ahead(self.parts[coming].pages)

    def leave(self) -> None:
        """Nothing computes for a while: let go of all."""
        for part in self.parts:
            let_go(part.pages)
        self.at = None


def stream_weights(model: Any, folder: Path) -> Stream | None:
    """Let `model`'s frozen weights come and go from now on, which were loaded from `folder`.

    None, and nothing done, where most of them do not lie in its files: they were converted when they were loaded, to another type
    or another layout (experts that are fused).
    """
    files, plain = mapped(weight_files(folder)), without_adapters(model)
    blocks = [(block, _part(block.parameters(), files)) for blocks in block_lists(plain) for block in blocks]
    frozen_bytes = sum(w.nbytes for block, _ in blocks for w in block.parameters() if not w.requires_grad)
    if not frozen_bytes or sum(part.bytes for _, part in blocks) < _LEAST_SHARE * frozen_bytes:
        return None
    tables = [(table, _part([table.weight], files)) for table in _tables(plain)]
    ordered = [*tables[:1], *blocks, *tables[1:]]
    stream = Stream(parts=[part for _, part in ordered])
    for number, (module, _) in enumerate(ordered):
        _follow(module, number, stream)
    for table, part in tables:
        if part.pages:
            setattr(table, LET_GO, partial(_let_go_of_rows, table.weight))
    stream.leave()
    return stream


def _tables(plain: Any) -> list[Any]:
    """The embeddings and the head, where they are large; a head that is the same table as the embeddings comes and goes twice."""
    found = (plain.get_input_embeddings(), plain.get_output_embeddings())
    return [
        table for table in found if getattr(table, "weight", None) is not None and table.weight.nbytes >= _TABLE_BYTES
    ]


def _part(weights: Iterable[Any], files: list[MappedFile]) -> Part:
    """The whole pages of those weights that are frozen and lie in files."""
    pages = []
    for weight in weights:
        begin = weight.data_ptr()
        end = begin + weight.nbytes
        if not weight.requires_grad and any(file.begin <= begin and end <= file.end for file in files):
            pages.append(whole_pages(begin, end))
    return Part(pages=tuple(pages))


def _let_go_of_rows(weight: Any, begin: int, end: int) -> None:
    row_bytes, start = weight[0].nbytes, weight.data_ptr()
    let_go([whole_pages(start + begin * row_bytes, start + end * row_bytes)])


def _follow(module: Any, number: int, stream: Stream) -> None:
    """Tell the stream when a module begins to compute: forward, and backward when what it has said has its gradient."""
    import torch

    def begins(module: Any, given: Any) -> None:
        stream.enter(number)

    def has_said(module: Any, given: Any, said: Any) -> None:
        first = said[0] if isinstance(said, tuple) else said
        if isinstance(first, torch.Tensor) and first.requires_grad:
            first.register_hook(lambda slope: stream.enter(number))

    module.register_forward_pre_hook(begins)
    module.register_forward_hook(has_said)
