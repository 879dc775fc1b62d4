"""adapter: a copy of `adapter/`, which peft loads beside the base model."""

from __future__ import annotations

from proxtune.export.base import ExportFormat
from proxtune.export.folder_copy import copy_folder

FORMAT = ExportFormat(
    name="adapter",
    description="the adapter alone, for peft",
    source="adapter",
    makes="folder",
    write=copy_folder,
)
