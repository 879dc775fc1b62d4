"""Work in a forked child, which takes its imports and memory with it when it ends."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proxtune.errors import DiskFailed, UserError
from proxtune.storage.atomic import disk_error_message

_THREADS = Path("/proc/self/task")
_FLAGS, _EXITING = 6, 4  # field of `stat` after the name, and PF_EXITING: a joined thread may be listed for a moment
_SOFT = 1  # omp_pause_soft: settings, the number of threads among them, stay


class ChildKilled(RuntimeError):
    """A signal ended the forked child. Short of memory, oneDNN's compiler crashes now and then instead of refusing."""


def in_forked_child(work: Callable[[], Any]) -> Any:
    """The JSON-able result of `work()`, run in a forked child, which takes its imports and memory with it.

    Raises RuntimeError instead of forking where this thread has run a parallel kernel: OpenMP's threads do not survive a
    fork, and the child would wait for them for ever. Raises UserError as the child did, DiskFailed where its disk was full or
    failing, RuntimeError with the child's own words when it fails otherwise, ChildKilled when a signal ended it.
    """
    ended = _end_openmp_threads()
    if ended:
        raise RuntimeError(
            f"cannot fork: this process has already run parallel code ({ended} OpenMP threads); fork before anything is "
            "computed, or compute in a forked child too"
        )
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
                answer = _failure(error)
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
    if "disk" in answer:
        raise DiskFailed(answer["disk"])
    if "user" in answer:
        raise UserError(answer["user"])
    if "error" in answer:
        raise RuntimeError(f"the forked child failed: {answer['error']}")
    return answer["result"]


def _failure(error: BaseException) -> dict[str, str]:
    """An error as the parent is told of it: the message where it is for the user, else the traceback."""
    if isinstance(error, DiskFailed):
        return {"disk": str(error)}
    if isinstance(error, UserError):
        return {"user": str(error)}
    of_the_disk = disk_error_message(error) if isinstance(error, OSError) else None
    if of_the_disk is not None:
        return {"disk": of_the_disk}
    return {"error": "".join(traceback.format_exception(error))}


def _end_openmp_threads() -> int:
    """End the threads that OpenMP keeps for this thread's parallel kernels, and return how many there were.

    There are some from the first parallel kernel on, and none before; the next kernel starts them again. They are told from
    all other threads (OpenBLAS's, which start with numpy and survive a fork; those of tokenizers) by ending when OpenMP is
    asked to let go of them. 0 where that cannot be seen, without /proc (macOS) or with an OpenMP older than 5.0: the fork
    continues as if there were none. LLVM's OpenMP, which torch has on macOS, keeps its threads and starts anew in a child by
    itself.
    """
    import torch

    library = ctypes.CDLL(torch._C.__file__)  # finds what torch was linked with, and not another OpenMP of this process
    let_go = getattr(library, "omp_pause_resource_all", None)
    if let_go is None or not _THREADS.is_dir():
        return 0
    before = _living_threads()
    let_go(_SOFT)
    return len(before - _living_threads())


def _living_threads() -> set[str]:
    """The kernel's numbers of this process's threads, but for those that are about to end."""
    found = set()
    for thread in _THREADS.iterdir():
        with contextlib.suppress(OSError):  # it has ended
            fields = (thread / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if not int(fields[_FLAGS]) & _EXITING:
                found.add(thread.name)
    return found
