"""What the rest of the program counts on an export format to do."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from proxtune.errors import UserError
from proxtune.export.base import ExportFormat


def check_export(export_format: ExportFormat, run_folder: Path) -> None:
    """Run every check on `export_format` with the finished run in `run_folder`, which needs an adapter if the format does."""
    from proxtune.export.formats import export_as

    name = export_format.name
    assert name.islower(), f"the name {name!r} must be a word in small letters"
    assert export_format.description, f"{name} has no description"
    assert export_format.source in ("model", "adapter"), f"{name} is made from {export_format.source!r}"
    assert export_format.makes in ("folder", "file"), f"{name} makes {export_format.makes!r}"
    before = _digests(run_folder)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder).resolve() / "exports" / "out"
        try:
            told = export_as(export_format, run_folder, out)
        except UserError as error:
            raise AssertionError(f"{name} cannot export {run_folder}: {error}") from error
        made = "file" if out.is_file() else "folder" if out.is_dir() else "nothing"
        assert made == export_format.makes, f"{name} is to make a {export_format.makes} and made: {made}"
        assert told["bytes"] > 0, f"{name} wrote no bytes"
        assert [place.name for place in out.parent.iterdir()] == [out.name], f"{name} left files beside its export"
        assert _digests(run_folder) == before, f"{name} changed the run folder"
        written = _digests(out)
        with contextlib.suppress(UserError):
            export_as(export_format, run_folder, out)
        assert _digests(out) == written, f"{name} overwrote what was there"
        _check_whole_or_nothing(export_format, run_folder, out)
    assert _digests(run_folder) == before, f"{name} changed the run folder when it could not write"


def _check_whole_or_nothing(export_format: ExportFormat, run_folder: Path, made: Path) -> None:
    """With files limited to half of the largest that it made before, an export fails and leaves nothing."""
    from proxtune.export.formats import export_as

    files = [made] if made.is_file() else [place for place in made.rglob("*") if place.is_file()]
    out, name = made.parent / "failed", export_format.name
    with _files_limited(max(file.stat().st_size for file in files) // 2) as limited:
        if not limited:
            return
        try:
            export_as(export_format, run_folder, out)
        except UserError:
            pass
        else:
            raise AssertionError(f"{name} hid that it could not write all of its export")
    left = sorted(place.name for place in made.parent.iterdir() if place != made)
    assert not left, f"{name} left {left} behind when it could not write all of its export"


@contextlib.contextmanager
def _files_limited(most_bytes: int) -> Iterator[bool]:
    """No file of this process grows beyond `most_bytes`, as on a full disk; False where the system has no such limit."""
    try:
        import resource
    except ImportError:
        yield False
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield True
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _digests(place: Path) -> dict[str, str]:
    """What a file or folder holds: the digest of each file by its path."""
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
    return {str(file.relative_to(place)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
