"""The artifact: `model/`, which plain transformers loads, whole or not there at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from proxtune.constraint import Constraint, NoConstraint
from proxtune.durable import as_system_errors, put_folder
from proxtune.memory.lean import without_sharding
from proxtune.models import weight_bytes
from proxtune.packed import write_packed


def save_model(model: Any, tokenizer: Any, folder: Path, constraint: Constraint | NoConstraint | None = None) -> int:
    """Write `model/` whole or not at all, in the place of a former one; returns the bytes of its weight files.

    Raises OSError, also where it is a library that cannot write.
    """
    target, temporary = folder / "model", folder / ".model.part"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        if isinstance(constraint, Constraint):
            write_packed(temporary, constraint.saved(), model.config, constraint.structure)
            assert weight_bytes(temporary) <= constraint.structure.size_bytes, "bytes were allotted so that it fits"
        else:
            with without_sharding(), as_system_errors():
                model.save_pretrained(str(temporary), safe_serialization=True)
        with as_system_errors():
            tokenizer.save_pretrained(str(temporary))
        put_folder(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return weight_bytes(target)
