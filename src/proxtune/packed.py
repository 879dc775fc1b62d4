"""The weight file of a model that is held to a size, and the lines in config.json by which transformers unpacks it.

The format is compressed-tensors' `pack-quantized`, unpacked while loading (`dequantize`): what is loaded is an ordinary dense
model in float32. Needs transformers 5.21 and the package compressed-tensors where it is loaded; nothing beside torch and
safetensors to write it, or to load it here. Where no weight is packed, float16 alone, plain transformers loads it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxtune.durable import write_json
from proxtune.errors import PersonError
from proxtune.feasible.grid import Grid
from proxtune.feasible.held import HALF_BITS
from proxtune.feasible.packing import words_for
from proxtune.structure import Structure

_PARTS = ("weight_packed", "weight_scale", "weight_shape")
_PACKED = _PARTS[0]


def write_packed(folder: Path, tensors: dict[str, Tensor], config: Any, structure: Structure) -> None:
    """Write `model.safetensors` and `config.json` into `folder`."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(whole, str(folder / "model.safetensors"), {"format": "pt"})
    config.save_pretrained(str(folder))
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    told["dtype"] = "float32"  # what tensors that are not packed become as well
    if structure.bits < HALF_BITS:
        told["quantization_config"] = unpacking(structure)
    write_json(folder / "config.json", told)


def unpacking(structure: Structure) -> dict[str, Any]:
    """How the tensors of a weight file are unpacked: one scheme for all."""
    shared = {"strategy": "group", "group_size": structure.group} if structure.group else {"strategy": "channel"}
    weights = {"num_bits": structure.bits, "type": "int", "symmetric": True, "dynamic": False, **shared}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "dequantize": True,
        "config_groups": {"group_0": {"targets": ["Linear", "Embedding"], "weights": weights}},
    }


def is_packed(folder: Path) -> bool:
    """Whether a model folder holds codes."""
    return "quantization_config" in json.loads((folder / "config.json").read_text(encoding="utf-8"))


def load_packed(folder: Path, attention: str) -> Any:
    """The classifier in `folder`, unpacked here, tensor by tensor: its library's imports (130 MB) are not needed for that.

    Raises PersonError where codes and what is said of them do not go together.
    """
    from safetensors import safe_open
    from transformers import AutoConfig, AutoModelForSequenceClassification

    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    grid = _grid_of(folder, told.pop("quantization_config"))
    config = AutoConfig.for_model(**told)
    state = {}
    with safe_open(str(folder / "model.safetensors"), framework="pt") as weights:
        for name in sorted(weights.keys()):
            if name.endswith(_PACKED):
                parts = {end: weights.get_tensor(name.removesuffix(_PACKED) + end) for end in _PARTS}
                state[name.removesuffix("_packed")] = _unpacked(folder, name, grid, parts)
            elif not name.endswith(_PARTS):
                state[name] = weights.get_tensor(name).float()
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)
    model.load_state_dict(state, assign=True)  # in the place of numbers that were drawn
    return model.eval()


def _grid_of(folder: Path, told: Any) -> Grid:
    try:
        scheme = told["config_groups"]["group_0"]["weights"]
        bits, columns = int(scheme["num_bits"]), int(scheme.get("group_size") or 0)
        if told["format"] != "pack-quantized" or not 2 <= bits <= 8 or not 0 <= columns < 1 << 20:
            raise ValueError(f"{bits} bits by {columns}")
    except (KeyError, TypeError, ValueError) as error:
        raise PersonError(f"{folder} has codes of an unknown kind ({error}); train again") from error
    return Grid(bits, columns or "row")


def _unpacked(folder: Path, name: str, grid: Grid, parts: dict[str, Tensor]) -> Tensor:
    codes, scale, shape = (parts[end] for end in _PARTS)
    rows, columns = (int(length) for length in shape) if shape.numel() == 2 else (0, 0)
    groups = columns // grid.share if isinstance(grid.share, int) else 1
    fits = codes.shape == (rows, words_for(columns, grid.bits)) and scale.shape == (rows, groups)
    if not fits or codes.dtype != torch.int32 or not grid.fits((rows, columns)):
        raise PersonError(f"{folder}: the codes of {name[:80]} are not of the shape that is told; train again")
    return grid.values(grid.loaded(parts))
