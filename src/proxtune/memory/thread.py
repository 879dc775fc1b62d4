"""The thread that computes, replaced where memory was refused.

oneDNN's generator of machine code (Xbyak) notes a refused allocation in a variable of the thread and never clears it:
whatever this thread wants compiled from then on fails with "could not create a primitive", or ends the process by a
null pointer, and there may be memory again. A new thread knows nothing of it. (Mended in uxlfoundation/oneDNN#5907,
August 2026; torch 2.13 is without it.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_NAME = "proxtune-computes"


class ComputingThread:
    """Runs one computation at a time. State: the thread, which is the caller's own until the first `replace`.

    Gradient, autocast and inference mode belong to a thread: a computation enters those it needs by itself.
    """

    def __init__(self) -> None:
        self._own: ThreadPoolExecutor | None = None

    def run(self, compute: Callable[[], T]) -> T:
        """`compute()`, and what it raises. Part of a computation is run where the whole is."""
        if self._own is None or threading.current_thread().name.startswith(_NAME):
            return compute()
        return self._own.submit(compute).result()

    def replace(self) -> None:
        """Let go of the thread and begin with a new one."""
        if self._own is not None:
            self._own.shutdown(wait=False)
        self._own = ThreadPoolExecutor(1, _NAME)
