"""The artifact: `model/`, which plain transformers loads, whole or not there at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from proxtune.compression.size_constraint import NoSizeConstraint, SizeConstraint
from proxtune.export.older_transformers import write_for_older
from proxtune.models.source import INDEX, weight_bytes, weight_files
from proxtune.models.tokenizer.saving import save_tokenizer
from proxtune.storage.atomic import as_system_errors, replace_folder


def save_model(
    model: Any,
    tokenizer: Any,
    folder: Path,
    constraint: SizeConstraint | NoSizeConstraint | None = None,
    weights: Path | None = None,
) -> int:
    """Write `model/` whole or not at all, in the place of a former one; returns the bytes of its weight files.

    Where the model's weights lie in files of the folder `weights` already, these are moved, and the folder is spent.
    Raises OSError, also where it is a library that cannot write.
    """
    target, temporary = folder / "model", folder / ".model.part"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        if weights is None:
            (constraint or NoSizeConstraint()).write_model(model, temporary)
        else:
            _move_model(model, weights, temporary)
        with as_system_errors():
            save_tokenizer(tokenizer, temporary)
            write_for_older(temporary)
        replace_folder(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return weight_bytes(target)


def _move_model(model: Any, weights: Path, folder: Path) -> None:
    """The config as transformers writes it, and the weight files from where they are. Raises OSError."""
    folder.mkdir()
    model.config.dtype = str(model.dtype).removeprefix("torch.")
    model.config.architectures = [type(model).__name__]
    with as_system_errors():
        model.config.save_pretrained(str(folder))
        if model.can_generate():
            model.generation_config.save_pretrained(str(folder))
    for file in (*weight_files(weights), weights / INDEX):
        if file.exists():
            file.rename(folder / file.name)
    shutil.rmtree(weights)
