"""Library code in memory: files that are mapped count as resident, page by page, as soon as they are touched.

Imports touch a lot that training never needs again. And where a file lies in the page cache in large folios (2 MB, as after an
installation), a recent kernel maps the whole folio at the first touch of one of its pages: 30 MB of torch's code that are used
became 106 MB resident, on Linux 6.18. It never maps beyond an area of one kind, so the code is cut into small areas.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

from proxtune.memory.allocator import c_library

_DONTNEED, _DONTDUMP = 4, 16  # madvise
_PIECE_BYTES = 256 * 1024


def unload_cold_code() -> None:
    """Let go of library pages; what is needed again comes back from the page cache, in small pieces. Linux only."""
    libc = c_library()
    if libc is None or not Path("/proc/self/smaps").exists():
        return
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for low, high, runs in list(_clean_code()):
        if runs and high - low > _PIECE_BYTES:
            # every other piece is left out of core dumps, which hold no clean file pages anyway: different areas never merge
            for begin in range(low, high, 2 * _PIECE_BYTES):
                libc.madvise(begin, min(_PIECE_BYTES, high - begin), _DONTDUMP)
        libc.madvise(low, high - low, _DONTNEED)


def _clean_code() -> Iterator[tuple[int, int, bool]]:
    """Clean, read-only file mappings without private pages: (begin, end, whether it is code that runs).

    A relocated segment has private pages and must stay: dropping it would undo the relocations.
    """
    span: tuple[int, int, bool] | None = None
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as maps:
        for line in maps.read().splitlines():
            words = line.split(None, 5)
            if "-" in words[0] and not words[0].endswith(":"):
                is_file = len(words) > 5 and words[5].startswith("/") and not words[5].startswith("/dev/")  # a GPU's
                droppable = is_file and "w" not in words[1]
                low, _, high = words[0].partition("-")
                span = (int(low, 16), int(high, 16), "x" in words[1]) if droppable else None
            elif words[0] == "Anonymous:" and words[1] == "0" and span is not None:
                yield span
