"""The cache: models that were made out of others once, and are kept for the next run.

Any number of processes use it at once. A folder appears whole and disappears whole, by a rename. What a process is still
making is hidden and locked, which tells it from what a killed process has left behind. Linux keeps the bytes of a file that was
removed as long as a process has mapped it, so a model that is in use may be removed too.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from proxtune.errors import UserError
from proxtune.storage.atomic import replace_folder
from proxtune.storage.lock import locked

KINDS = ("models", "weights")  # dequantized GGUF files, and models in another dtype
_SOURCE = ".source"  # the file with the words that say what a folder was made from
_PART = ".part"


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A folder in the cache, when it was last used (in seconds since 1970), and what it was made from, where that is known."""

    path: Path
    bytes: int
    last_used_seconds: float
    source: str


def cache_folder(kind: str) -> Path:
    """Where the cache has its folders of a kind; it need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "proxtune" / kind


def find_cached(kind: str, name: str) -> Path | None:
    """The folder of that name, which counts as used now; None where there is none."""
    folder = cache_folder(kind) / name
    with contextlib.suppress(OSError):  # a cache that may only be read can be used all the same
        os.utime(folder)
    return folder if folder.is_dir() else None


def add_to_cache(kind: str, name: str, source: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name, which `make` has made at the path that it is given; `source` says what from.

    What `make` leaves beside its folder is removed. Raises what `make` does, and OSError; then nothing is left.
    """
    folder = cache_folder(kind) / name
    with _scratch(kind) as scratch:
        made = scratch / "made"
        make(made)
        (made / _SOURCE).write_text(source, encoding="utf-8", errors="replace")
        try:
            replace_folder(made, folder)
        except OSError:
            if not folder.is_dir():  # another process was faster otherwise
                raise
    return folder


def cached_models() -> list[CachedModel]:
    """All that the cache holds, the last used first."""
    found = [model for kind in KINDS for model in _models_of(kind)]
    return sorted(found, key=lambda model: model.last_used_seconds, reverse=True)


def clear_cache() -> int:
    """Remove all that the cache holds but what is being made. Returns the bytes of it. Raises UserError where that fails."""
    freed = 0
    try:
        for kind in KINDS:
            freed += _remove_abandoned(kind)
            freed += sum(_remove(model) for model in _models_of(kind))
    except OSError as error:
        raise UserError(
            f"the cache in {cache_folder(KINDS[0]).parent} cannot be cleared ({error.strerror}); remove that folder yourself"
        ) from error
    return freed


def bound_cache(most_bytes: int, keep: Path) -> None:
    """Remove the least recently used folders of weights until the others take no more than `most_bytes`; `keep` stays.

    A folder that cannot be removed stays too: that the cache is too large ends no run.
    """
    with contextlib.suppress(OSError, UserError):
        _remove_abandoned(keep.parent.name)
    models = sorted(_models_of(keep.parent.name), key=lambda model: model.last_used_seconds)
    left = sum(model.bytes for model in models)
    for model in models:
        if left > most_bytes and model.path != keep:
            with contextlib.suppress(OSError, UserError):
                left -= _remove(model)


def _models_of(kind: str) -> Iterator[CachedModel]:
    try:
        places = list(cache_folder(kind).iterdir())
    except FileNotFoundError:
        return
    for path in places:
        if path.name.startswith(".") or path.is_symlink() or not path.is_dir():
            continue
        with contextlib.suppress(FileNotFoundError):  # another process has just removed it
            used = path.stat().st_mtime
            yield CachedModel(path=path, bytes=_bytes_in(path), last_used_seconds=used, source=_source_of(path))


def _source_of(folder: Path) -> str:
    try:
        return (folder / _SOURCE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _bytes_in(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += (Path(place) / name).lstat().st_size
    return total


def _remove(model: CachedModel) -> int:
    """Bytes of what was removed: none where another process was faster."""
    with _scratch(model.path.parent.name) as scratch:
        try:
            model.path.rename(scratch / "removed")
        except FileNotFoundError:
            return 0
    return model.bytes


def _remove_abandoned(kind: str) -> int:
    """Remove what processes that were killed had begun. Returns the bytes of it."""
    if not cache_folder(kind).is_dir():
        return 0
    freed = 0
    with locked(cache_folder(kind).parent):
        for place in cache_folder(kind).glob(f".*{_PART}"):
            with contextlib.suppress(UserError, OSError), locked(place, patience_seconds=0):  # not held by its maker
                freed += _bytes_in(place)
                rmtree(place, ignore_errors=True)
    return freed


@contextlib.contextmanager
def _scratch(kind: str) -> Iterator[Path]:
    """A hidden folder beside those of a kind, on the same disk as they, that is gone afterwards with all that is in it."""
    parent = cache_folder(kind)
    parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with locked(
            parent.parent
        ):  # or the folder would be taken for one that is abandoned, before its own lock is held
            name = stack.enter_context(
                tempfile.TemporaryDirectory(prefix=".", suffix=_PART, dir=parent, ignore_cleanup_errors=True)
            )
            stack.enter_context(locked(Path(name)))
        yield Path(name)
