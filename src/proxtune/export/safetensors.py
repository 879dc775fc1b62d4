"""safetensors: a copy of `model/` with its card, which transformers loads."""

from __future__ import annotations

from proxtune.export.base import ExportFormat
from proxtune.export.folder_copy import copy_folder

FORMAT = ExportFormat(
    name="safetensors",
    description="the merged model, for transformers",
    source="model",
    makes="folder",
    write=copy_folder,
)
