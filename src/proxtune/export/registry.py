"""The export formats by name. A file for each, a line here; other packages add theirs by the entry point `proxtune.exports`."""

from __future__ import annotations

from proxtune.config.plugins import Registry
from proxtune.export.base import ExportFormat

EXPORTS: Registry[ExportFormat] = Registry(
    kind="export format",
    group="proxtune.exports",
    built_in={
        "safetensors": "proxtune.export.safetensors:FORMAT",
        "adapter": "proxtune.export.adapter:FORMAT",
        "gguf": "proxtune.export.gguf:FORMAT",
    },
)


def format_names() -> tuple[str, ...]:
    """The names there are."""
    return EXPORTS.names()


def find_format(name: str) -> ExportFormat:
    """The export format of that name. Raises UserError for one that is unknown or cannot be loaded."""
    return EXPORTS.find(name)
