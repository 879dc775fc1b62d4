"""The thread that computes, replaced where memory was refused.

oneDNN's generator of machine code (Xbyak) notes a refused allocation in a variable of the thread and never clears it:
whatever this thread wants compiled from then on fails with "could not create a primitive", or ends the process by a
null pointer, and there may be memory again. A new thread knows nothing of it. (Mended in uxlfoundation/oneDNN#5907,
August 2026; torch 2.13 is without it.)

A thread needs 8 MB of address space for its stack, which may be refused as well, just where it is needed. glibc keeps the
stack of a thread that has ended for the next: so `reserve` has one begin and end before the limit is set, and a thread that
is let go of ends before the next begins.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_NAME = "proxtune-computes"


class ComputeThread:
    """Runs one computation at a time. State: the thread, which is the caller's own until the first `replace`.

    Gradient, autocast and inference mode belong to a thread: a computation enters those it needs by itself.
    """

    def __init__(self) -> None:
        self._own: ThreadPoolExecutor | None = None
        self._has_stack = False

    def reserve(self) -> None:
        """Take the address space of a thread now, for `replace` under a limit."""
        if not self._has_stack:
            with ThreadPoolExecutor(1) as passing:
                passing.submit(int).result()
            self._has_stack = True

    def run(self, compute: Callable[[], T]) -> T:
        """`compute()`, and what it raises. Part of a computation is run where the whole is."""
        if self._own is None or _is_computing():
            return compute()
        return self._own.submit(compute).result()

    def replace(self) -> None:
        """Let go of the thread and begin with a new one; with the caller's where none can be had.

        That may not compile any more, but much is compiled already.
        """
        if self._own is not None:
            self._own.shutdown(wait=not _is_computing())
        self._own = _started_executor()


def _started_executor() -> ThreadPoolExecutor | None:
    for pause_seconds in (0.0, 0.001, 0.01, 0.1):  # the thread before may not have left its stack yet
        time.sleep(pause_seconds)
        own = ThreadPoolExecutor(1, _NAME)
        with contextlib.suppress(RuntimeError):  # "can't start new thread"
            own.submit(int).result()
            return own
    return None


def _is_computing() -> bool:
    return threading.current_thread().name.startswith(_NAME)
