"""A folder, copied whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from proxtune.storage.atomic import replace_folder
from proxtune.storage.safetensors_header import check_files


def copy_folder(source: Path, out: Path) -> None:
    """Copy `source` beside `out`, flush it, and put it in place in one step.

    Raises OSError, shutil.Error, and UserError for a link that leads out of `source`.
    """
    check_files(source, [str(file.relative_to(source)) for file in source.rglob("*")])
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        shutil.copytree(source, temporary)
        replace_folder(temporary, out)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary)
