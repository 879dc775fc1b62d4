"""Files that are whole or absent: write beside, flush to disk, rename, flush the folder.

Every write goes through here or through `journal.py`, by way of `os`, so that one test can let each call fail in turn.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from proxtune.errors import DiskFailed

FULL = (errno.ENOSPC, errno.EDQUOT)  # there may be room later
_DISK_ERRORS = (*FULL, errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO)
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")
_PART = ".part"  # what a writer that was killed leaves behind ends so
_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE, AT_FDCWD


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    Raises OSError while nothing has changed, a full disk among it; DiskFailed when the disk does not keep what it was given.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_PART}")
    try:
        write(temporary)
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """`data`, whole or absent."""
    write_atomic(path, lambda place: _fill(place, data))


def write_text(path: Path, text: str) -> None:
    """`text` in UTF-8, whole or absent."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """`value` as readable JSON, whole or absent."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def replace_folder(temporary: Path, target: Path) -> None:
    """Put a folder that is complete in the place of `target`, in one step; what was there before is gone afterwards."""
    for place in sorted(temporary.rglob("*"), reverse=True):
        flush(place)
    flush(temporary)
    if target.exists():
        _exchange(temporary, target)
    else:
        temporary.rename(target)
    flush(target.parent)
    shutil.rmtree(temporary, ignore_errors=True)


def remove_partial_files(folder: Path) -> None:
    """Remove what writers that were killed left behind. Only for the one who holds the folder's lock."""
    for place in (*folder.glob(f".*{_PART}"), *folder.glob(f"*/.*{_PART}")):
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                place.unlink()


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """All of `data`, however little a single call takes. Raises OSError."""
    left = memoryview(data).cast("B")
    while len(left):
        left = left[os.write(descriptor, left) :]


def flush(path: Path) -> None:
    """fsync. A failed one is never tried again: the system has already forgotten what it could not write.

    Raises DiskFailed, or OSError where the disk is full and another file may be written later.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise fsync_error(path, error) from error
    finally:
        os.close(descriptor)


def disk_error_message(error: OSError) -> str | None:
    """What to say of an error that is the disk's and not ours; None for another."""
    if error.errno not in _DISK_ERRORS:
        return None
    where = f" ({error.filename})" if error.filename else ""
    fix = "free some disk space" if error.errno in FULL else "check the disk"
    return f"{error.strerror}{where}: {fix}, then: proxtune resume"


@contextlib.contextmanager
def as_system_errors() -> Iterator[None]:
    """Around libraries whose file errors are no OSError (those of safetensors and tokenizers say "os error 28"): raises one."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        number = _SYSTEM_ERROR.search(str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code)) from error


def fsync_error(path: Path, error: OSError) -> DiskFailed:
    """What to say when fsync failed."""
    return DiskFailed(
        f"the disk lost data written to {path} ({error.strerror}); check the disk, then run: proxtune resume"
    )


def _fill(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> None:
    """Two folders change places in one step, where the system can do that; else in two, by way of a third name."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    names = (os.fsencode(one), os.fsencode(other))
    if rename is not None and rename(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0:
        return
    aside = other.with_name(f".{other.name}.former{_PART}")
    shutil.rmtree(aside, ignore_errors=True)
    other.rename(aside)
    one.rename(other)
    aside.rename(one)
