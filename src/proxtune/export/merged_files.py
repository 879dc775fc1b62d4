"""Merged weights, written without a model of them in memory: a copy of the files, in which what adapters change is written anew.

Where a streamed weight stands in its file is told by its address, for it is mapped from there; so no name needs to be translated.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from proxtune.memory.mapped_files import MappedFile, mapped
from proxtune.models.source import INDEX, weight_files
from proxtune.storage.atomic import write_all


def copy_weights(folder: Path, target: Path) -> None:
    """Copy the weight files of the model in `folder`, and their index, into the folder `target`. Raises OSError."""
    for file in (*weight_files(folder), folder / INDEX):
        if file.is_file():
            shutil.copyfile(file, target / file.name)  # the system copies; nothing of it is held here


def write_merged(model: Any, folder: Path, target: Path) -> None:
    """Write the weights of a peft model whose frozen ones are mapped from `folder` into `target`, adapters merged.

    W + (α/r) B A is summed as peft sums it, and rounded once to the type of W. Raises OSError.

    Parameters
    ----------
    model
        A peft model with adapters on linear layers, each of whose weights lies in a file of `folder` as a whole.
    folder
        The model that it was loaded from.
    target
        An empty folder.
    """
    import torch

    copy_weights(folder, target)
    names = {file.resolve(): file.name for file in weight_files(folder)}
    files = mapped(names)
    with torch.no_grad():
        for layer in (module for module in model.modules() if hasattr(module, "get_delta_weight")):
            weight = layer.get_base_layer().weight
            merged = weight.detach().clone()
            for adapter in layer.active_adapters:
                merged += layer.get_delta_weight(adapter)
            file = _file_of(weight, files)
            _write(target / names[file.path], file.place(weight.data_ptr()), merged.contiguous())


def _file_of(weight: Any, files: list[MappedFile]) -> MappedFile:
    begin = weight.data_ptr()
    return next(file for file in files if file.begin <= begin and begin + weight.nbytes <= file.end)


def _write(path: Path, place: int, tensor: Any) -> None:
    import torch

    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.lseek(descriptor, place, os.SEEK_SET)
        write_all(descriptor, tensor.reshape(-1).view(torch.uint8).numpy().data)
    finally:
        os.close(descriptor)
