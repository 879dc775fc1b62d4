"""Work in a forked child, so that what it imports and allocates goes with it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import traceback
from collections.abc import Callable
from typing import Any


class ChildKilled(RuntimeError):
    """A signal ended the forked child. Short of memory, oneDNN's compiler crashes now and then instead of refusing."""


def in_forked_child(work: Callable[[], Any]) -> Any:
    """The JSON-able result of `work()`, run in a forked child so that what it imports and allocates goes with it.

    The caller must not have run a parallel kernel yet: OpenMP's threads do not survive a fork.
    Raises RuntimeError with the child's own words when it fails, ChildKilled when a signal ended it.
    """
    read_end, write_end = os.pipe()
    gc.collect()
    gc.freeze()  # for good: the child's collector must not write to the pages that both share
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with contextlib.suppress(OSError, AttributeError):
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: do not outlive the parent
            os.close(read_end)
            try:
                answer = {"result": work()}
                status = 0
            except BaseException as error:
                answer = {"error": "".join(traceback.format_exception(error))}
            with os.fdopen(write_end, "w", encoding="utf-8") as pipe:
                json.dump(answer, pipe)
        finally:
            os._exit(status)  # no atexit handlers of the parent's run here
    os.close(write_end)
    with os.fdopen(read_end, encoding="utf-8") as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        raise ChildKilled(f"killed by {signal.Signals(os.WTERMSIG(status)).name}")
    answer = (
        json.loads(text)
        if text
        else {"error": f"it ended with status {os.waitstatus_to_exitcode(status)} without a word"}
    )
    if "error" in answer:
        raise RuntimeError(f"the forked child failed: {answer['error']}")
    return answer["result"]
