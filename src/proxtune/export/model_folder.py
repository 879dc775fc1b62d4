"""The artifact: `model/`, which plain transformers loads, whole or not there at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from proxtune.compression.size_constraint import NoSizeConstraint, SizeConstraint
from proxtune.export.older_transformers import write_for_older
from proxtune.models.source import weight_bytes
from proxtune.models.tokenizer.saving import save_tokenizer
from proxtune.storage.atomic import as_system_errors, replace_folder


def save_model(
    model: Any, tokenizer: Any, folder: Path, constraint: SizeConstraint | NoSizeConstraint | None = None
) -> int:
    """Write `model/` whole or not at all, in the place of a former one; returns the bytes of its weight files.

    Raises OSError, also where it is a library that cannot write.
    """
    target, temporary = folder / "model", folder / ".model.part"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        (constraint or NoSizeConstraint()).write_model(model, temporary)
        with as_system_errors():
            save_tokenizer(tokenizer, temporary)
            write_for_older(temporary)
        replace_folder(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return weight_bytes(target)
