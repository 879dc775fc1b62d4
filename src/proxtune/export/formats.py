"""Exports: what a run made, out of its folder, whole or not at all. A public converter makes GGUF, where there is one."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from proxtune.errors import UserError
from proxtune.export.gguf import convert_to_gguf
from proxtune.models.source import check_folder
from proxtune.storage.atomic import replace_folder
from proxtune.storage.result import run_with_model
from proxtune.storage.run_folder import read_recipe
from proxtune.storage.safetensors_header import check_files

FORMATS = ("safetensors", "adapter", "gguf")


def export(folder: str | Path, out: str | Path, kind: str = "safetensors") -> dict[str, Any]:
    """Put what `kind` names of the run `folder` at `out`, which must not be there: returns `format`, `out` and `bytes`.

    safetensors: a copy of `model/` with its card, which transformers loads. adapter: that of a `lora` run which kept it (peft).
    gguf: a file for llama.cpp, by its converter. Raises UserError for a run without it, an `out` that is there, a disk that
    is full, and a converter that is not there or fails.
    """
    if kind not in FORMATS:
        raise UserError(f"--format {kind!r} is not known; choose one of {', '.join(FORMATS)}")
    place, target = run_with_model(folder), Path(out)
    if target.exists() or target.is_symlink():
        raise UserError(f"{out} is already there and is never overwritten; choose another --out")
    source = _adapter_of(place, folder) if kind == "adapter" else _model_of(place, folder)
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        if kind == "gguf":
            convert_to_gguf(source, target.absolute())
        else:
            _copy(source, target.absolute())
    except (OSError, shutil.Error) as error:
        words = getattr(error, "strerror", None) or str(error)[:200]
        raise UserError(f"cannot write {out} ({words}); make room or allow writing there") from error
    files = [target] if target.is_file() else target.rglob("*")
    return {"format": kind, "out": str(out), "bytes": sum(file.stat().st_size for file in files if file.is_file())}


def _model_of(place: Path, name: str | Path) -> Path:
    check_files(place, ["model"])
    check_folder(place / "model", f"the model of {name}")
    return place / "model"


def _adapter_of(place: Path, name: str | Path) -> Path:
    source = place / "adapter"
    check_files(place, ["adapter"])
    if not (source / "adapter_config.json").is_file():
        if read_recipe(place / "recipe.toml").knobs.keep_adapter:
            raise UserError(f"{name} has no adapter, for its method was not lora; train again with --method lora")
        raise UserError(f"{name} has kept no adapter; train again with --method lora --keep-adapter")
    return source


def _copy(source: Path, out: Path) -> None:
    """A folder: copied beside `out`, flushed, put in place in one step. Raises OSError, UserError for a link that leads out."""
    check_files(source, [str(file.relative_to(source)) for file in source.rglob("*")])
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        shutil.copytree(source, temporary)
        replace_folder(temporary, out)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary)
