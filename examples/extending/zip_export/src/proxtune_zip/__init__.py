"""zip: the model folder as one file to send."""

from __future__ import annotations

import zipfile
from pathlib import Path

from proxtune.export.base import ExportFormat
from proxtune.storage.atomic import write_atomic


def _write(source: Path, out: Path) -> None:
    def archive(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archived:
            for file in sorted(source.rglob("*")):
                archived.write(file, Path(source.name, file.relative_to(source)))

    write_atomic(out, archive)  # `out` appears when the archive is complete, or not at all


FORMAT = ExportFormat(
    name="zip",
    description="the model folder as one .zip file",
    source="model",
    makes="file",
    write=_write,
)
