"""How the C library hands memory out and back: a choice between speed and a small footprint (glibc only).

Training makes and frees the same large tensors at every step. Left alone, glibc spreads them over arenas and raises its
own thresholds as it goes, so the footprint drifts. `fast` keeps what was freed for the next step (one arena, no
trimming: a third faster on small models, at 1.4 to 1.8 times the live bytes); `tight` gives every block of 128 KiB
and more back at once (footprint within 5 % of the live bytes, at half the speed: the kernel clears each page again).
"""

from __future__ import annotations

import ctypes
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_NEVER = 2**31 - 1
_MADV_DONTNEED = 4


def _libc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
        _ = (libc.mallopt, libc.malloc_trim)
    except (OSError, AttributeError):
        return None
    return libc


def set_allocator(kind: str) -> None:
    """`fast` or `tight`, as a plan says; does nothing where the C library is not glibc."""
    libc = _libc()
    if libc is None:
        return
    libc.mallopt(_ARENA_MAX, 1)
    if kind == "fast":
        libc.mallopt(_MMAP_THRESHOLD, _NEVER)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    else:
        assert kind == "tight", kind
        libc.mallopt(_MMAP_THRESHOLD, 128 * 1024)
        libc.mallopt(_TRIM_THRESHOLD, 1024 * 1024)


def give_back() -> None:
    """Return free heap to the system, at the end of a phase or after a refusal."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


def unload_cold_code() -> None:
    """Let go of library pages that imports touched and training will not: the budget counts mapped files too.

    Only clean, read-only file mappings without private pages are dropped; what is needed again comes back from the
    page cache. (A relocated segment has private pages and must stay: dropping it would undo the relocations.)
    """
    libc = _libc()
    if libc is None or not Path("/proc/self/smaps").exists():
        return
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    span: tuple[int, int] | None = None
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as maps:
        lines = maps.read().splitlines()
    for line in lines:
        words = line.split(None, 5)
        if "-" in words[0] and not words[0].endswith(":"):
            droppable = len(words) > 5 and words[5].startswith("/") and "w" not in words[1]
            low, _, high = words[0].partition("-")
            span = (int(low, 16), int(high, 16)) if droppable else None
        elif words[0] == "Anonymous:" and words[1] == "0" and span is not None:
            libc.madvise(span[0], span[1] - span[0], _MADV_DONTNEED)
