"""One run folder, one writer: a lock that the system lets go of when its holders are gone, however they went."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxtune.errors import UserError

_NAME = "lock"
_PATIENCE_SECONDS = 10.0  # a stage whose supervisor was killed ends within a few seconds


@contextmanager
def locked(folder: Path, patience_seconds: float = _PATIENCE_SECONDS) -> Iterator[int]:
    """Hold the lock of `folder`; yields its descriptor, to be handed on to the processes that write there too.

    A file that nobody holds is what a killed process left: it is taken over. Raises UserError when another holds it.
    """
    path = folder / _NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        _take(descriptor, folder, patience_seconds)
        os.ftruncate(descriptor, 0)
        with contextlib.suppress(OSError):  # a full disk: the name is for people, the lock is held all the same
            os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
        yield descriptor
        os.ftruncate(descriptor, 0)  # the file stays: another may be waiting for it
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path, patience_seconds: float) -> None:
    until = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise UserError(f"cannot lock {folder} ({error.strerror}); choose a folder on another disk") from error
        if time.monotonic() > until:
            raise UserError(
                f"another proxtune{_holder(descriptor)} is using {folder}; wait for it to finish, or stop it"
            )
        time.sleep(0.05)


def _holder(descriptor: int) -> str:
    try:
        return f" (process {int(json.loads(os.pread(descriptor, 200, 0))['pid'])})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
