"""Exports: a run's model or adapter outside its folder, in one of the formats, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from proxtune.errors import UserError
from proxtune.export.base import ExportFormat
from proxtune.export.registry import find_format
from proxtune.methods.registry import find_method, method_names
from proxtune.models.source import check_folder
from proxtune.storage.result import read_result, run_with_model
from proxtune.storage.safetensors_header import check_files


def export(folder: str | Path, out: str | Path, kind: str = "safetensors") -> dict[str, Any]:
    """Export the run `folder` to `out`, which must not exist, in the format `kind`: returns `format`, `out` and `bytes`.

    safetensors: a copy of `model/` with its card, which transformers loads. adapter: the adapter that a method kept beside the
    model (peft). gguf: a file for llama.cpp, by its converter. Raises UserError for an unknown format, a run without what is
    exported, an `out` that exists, a full disk, and a converter that is missing or fails.
    """
    return export_as(find_format(kind), folder, out)


def export_as(export_format: ExportFormat, folder: str | Path, out: str | Path) -> dict[str, Any]:
    """The same with a format that need not be registered."""
    place, target = run_with_model(folder), Path(out)
    if target.exists() or target.is_symlink():
        raise UserError(f"{out} already exists and is never overwritten; choose another --out")
    source = _source_of(place, folder, export_format)
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        export_format.write(source, target.absolute())
    except (OSError, shutil.Error) as error:
        words = getattr(error, "strerror", None) or str(error)[:200]
        raise UserError(f"cannot write {out} ({words}); free disk space or check the permissions") from error
    files = [target] if target.is_file() else target.rglob("*")
    written = sum(file.stat().st_size for file in files if file.is_file())
    return {"format": export_format.name, "out": str(out), "bytes": written}


def _source_of(place: Path, name: str | Path, export_format: ExportFormat) -> Path:
    """The folder to export. Raises UserError where the run has none, or a damaged one."""
    check_files(place, [export_format.source])
    source = place / export_format.source
    if export_format.source == "model":
        check_folder(source, f"the model of {name}")
    elif not (source / "adapter_config.json").is_file():
        raise UserError(_no_adapter(place, name))
    return source


def _no_adapter(place: Path, name: str | Path) -> str:
    """Why a run has no adapter, and what to do."""
    method, keeping = read_result(place).get("method"), [known for known in method_names() if _keeps_adapter(known)]
    if method in keeping:
        return f"{name} kept no adapter; train again with --method {method} --keep-adapter"
    return f"{name} has no adapter: method {method} trains none; train again with --method {' or '.join(keeping)} --keep-adapter"


def _keeps_adapter(method: str) -> bool:
    try:
        return find_method(method).keeps_adapter
    except UserError:  # of a package that cannot be loaded
        return False
