"""An export format is a value: whole when it is made, and fixed from then on."""

from dataclasses import FrozenInstanceError

import pytest

from proxtune.export.base import ExportFormat
from proxtune.export.registry import EXPORTS


def test_a_format_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        EXPORTS.find("safetensors").makes = "file"


def test_a_format_without_a_source_is_refused():
    with pytest.raises(TypeError, match="source"):
        ExportFormat(name="half", description="half of it", makes="file", write=lambda source, out: None)
