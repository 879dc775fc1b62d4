"""The artifact: `model/`, which plain transformers loads; and the best point so far, which waits in `snapshots/`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from proxtune.durable import write_whole
from proxtune.memory.lean import without_sharding
from proxtune.models import weight_bytes

_BEST = Path("snapshots") / "best.safetensors"


def keep_best(model: Any, folder: Path) -> None:
    """Write the trainable weights as the best so far; the former best stays until the new one is on disk."""
    from safetensors.torch import save_file

    (folder / "snapshots").mkdir(exist_ok=True)
    tensors = {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}
    write_whole(folder / _BEST, lambda place: save_file(tensors, str(place)))


def has_best(folder: Path) -> bool:
    """Whether a best point is on disk."""
    return (folder / _BEST).is_file()


def return_to_best(model: Any, folder: Path) -> None:
    """Put the best weights back into the model, tensor by tensor.

    The file is read and not mapped: a mapped one would count beside the model, byte for byte.
    """
    import torch

    parameters = dict(model.named_parameters())
    with (folder / _BEST).open("rb") as file, torch.no_grad():
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header.pop("__metadata__", None)
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            begin, end = entry["data_offsets"]
            file.seek(8 + size + begin)
            parameter = parameters[name]
            raw = torch.frombuffer(bytearray(file.read(end - begin)), dtype=parameter.dtype)
            parameter.copy_(raw.view(parameter.shape))


def save_model(model: Any, tokenizer: Any, folder: Path) -> int:
    """Write `model/` whole or not at all; returns the bytes of its weight files."""
    target, temporary = folder / "model", folder / ".model.part"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with without_sharding():
            model.save_pretrained(str(temporary), safe_serialization=True)
        tokenizer.save_pretrained(str(temporary))
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return weight_bytes(target)
