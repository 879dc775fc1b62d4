"""The artifact: `model/`, which plain transformers loads, whole or not there at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from proxtune.compression.packed_format import write_packed
from proxtune.compression.size_constraint import SizeConstraint, NoSizeConstraint
from proxtune.memory.lean_imports import without_sharding
from proxtune.models.source import weight_bytes
from proxtune.storage.atomic import as_system_errors, replace_folder


def save_model(model: Any, tokenizer: Any, folder: Path, constraint: SizeConstraint | NoSizeConstraint | None = None) -> int:
    """Write `model/` whole or not at all, in the place of a former one; returns the bytes of its weight files.

    Raises OSError, also where it is a library that cannot write.
    """
    target, temporary = folder / "model", folder / ".model.part"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        if isinstance(constraint, SizeConstraint):
            write_packed(temporary, constraint.saved(), model.config, constraint.structure)
            assert weight_bytes(temporary) <= constraint.structure.size_bytes, "bytes were allotted so that it fits"
        else:
            with without_sharding(), as_system_errors():
                model.save_pretrained(str(temporary), safe_serialization=True)
        with as_system_errors():
            tokenizer.save_pretrained(str(temporary))
        replace_folder(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return weight_bytes(target)
