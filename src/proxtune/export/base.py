"""What an export format is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFormat:
    """One form in which a run's model can leave its folder. `proxtune.checks.check_export` tries all of it.

    `name` is what `--format` calls it, and `description` a few words on what it makes.
    `source` is the folder of the run that it is made from: "model", or "adapter" where the method kept one.
    `makes` says whether the export is a "folder" or a "file".
    `write(source, out)` makes it at the absolute path `out`, where nothing is yet, whole or not at all, and leaves `source` as it
    is. It raises OSError (or shutil.Error) where the disk fails, and UserError with a remedy for anything else.
    """

    name: str
    description: str
    source: Literal["model", "adapter"]
    makes: Literal["folder", "file"]
    write: Callable[[Path, Path], None]
