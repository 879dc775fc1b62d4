"""Weights that lie in their files: mapped, so that a page comes in when it is read, and goes when we say so.

What goes is in the file still, most often in the system's page cache too, from where it comes back without a copy. Linux only.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from proxtune.memory.allocator import c_library

_WILLNEED, _DONTNEED = 3, 4  # madvise


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedFile:
    """A stretch of addresses, from `begin` to `end`, that shows the file at `path` from `offset` on."""

    begin: int
    end: int
    path: Path
    offset: int

    def place(self, address: int) -> int:
        """Where in the file the byte at an address is."""
        return self.offset + address - self.begin


def can_let_go() -> bool:
    """Whether the system says what is mapped, and takes pages back."""
    return c_library() is not None and Path("/proc/self/smaps").exists()


def mapped(files: Iterable[Path]) -> list[MappedFile]:
    """Where this process has mapped these files and written to no page of them; nothing where the system does not say."""
    wanted = {str(file.resolve()) for file in files}
    return [found for found in _clean() if str(found.path) in wanted]


def _clean() -> Iterator[MappedFile]:
    """Pages that were written to are private copies: letting go of them would lose what was written."""
    found: MappedFile | None = None
    try:
        with open("/proc/self/smaps", encoding="utf-8", errors="replace") as maps:
            for line in maps.read().splitlines():
                words = line.split(None, 5)
                if not words[0].endswith(":"):  # "7f6c-7f6d rw-p 00000000 fe:00 1234  /models/a.safetensors"
                    path = words[5] if len(words) > 5 and words[5].startswith("/") else ""
                    low, _, high = words[0].partition("-")
                    offset = int(words[2], 16)
                    span = MappedFile(begin=int(low, 16), end=int(high, 16), path=Path(path), offset=offset)
                    found = span if path else None
                elif words[0] == "Anonymous:" and words[1] == "0" and found is not None:
                    yield found
    except (OSError, ValueError, IndexError):
        return


def whole_pages(begin: int, end: int) -> tuple[int, int]:
    """(address, bytes) of the pages that lie between two addresses as a whole; none of them gives (begin, 0)."""
    low, high = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    return (low, high - low) if high > low else (begin, 0)


def let_go(pages: Iterable[tuple[int, int]]) -> None:
    """Give these pages (address, bytes) back to the system. They must be of `mapped` files: others would be lost."""
    _advise(pages, _DONTNEED)


def let_go_of_all(files: Iterable[Path]) -> None:
    """Give back all pages of these files; those that are needed again come in again."""
    let_go((found.begin, found.end - found.begin) for found in mapped(files))


def read_ahead(pages: Iterable[tuple[int, int]]) -> None:
    """Have the system read these pages from disk, where they are not in its cache, without waiting for them."""
    _advise(pages, _WILLNEED)


def _advise(pages: Iterable[tuple[int, int]], advice: int) -> None:
    libc = c_library()
    if libc is None:
        return
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for address, count in pages:
        if count:
            libc.madvise(address, count, advice)
