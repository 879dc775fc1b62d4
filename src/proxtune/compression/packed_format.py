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

from proxtune.compression.architecture import Structure
from proxtune.compression.weight_format import HALF_BITS
from proxtune.errors import UserError
from proxtune.feasible.grid import Coded, Grid
from proxtune.feasible.packing import unpack, words_for
from proxtune.storage.atomic import write_json

_PARTS = ("weight_packed", "weight_scale", "weight_shape")
_PACKED = _PARTS[0]


def write_packed(folder: Path, tensors: dict[str, Tensor], config: Any, structure: Structure) -> None:
    """Write `model.safetensors` and `config.json` into `folder`."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(whole, str(folder / "model.safetensors"), {"format": "pt"})
    config.save_pretrained(str(folder))
    config_values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config_values["dtype"] = "float32"  # what tensors that are not packed become as well
    if structure.bits < HALF_BITS:
        config_values["quantization_config"] = unpacking(structure)
    write_json(folder / "config.json", config_values)


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


class PackedEmbedding(torch.nn.Module):
    """An embedding whose rows stay codes, and are unpacked as they are looked up: (…) token ids → (…, width) float32.

    Bit for bit what the dense one gives. Of a small model it is half the memory, and a text needs few of its rows.
    """

    packed: Tensor  # (rows, words) int32
    scale: Tensor  # (rows, groups of a row)

    def __init__(self, grid: Grid, packed: Tensor, scale: Tensor, columns: int) -> None:
        super().__init__()
        self.grid, self.columns = grid, columns
        self.register_buffer("packed", packed)
        self.register_buffer("scale", scale)

    def forward(self, ids: Tensor) -> Tensor:
        tokens, places = ids.unique(return_inverse=True)
        codes = unpack(self.packed[tokens], self.grid.bits, self.columns)
        return self.grid.values(Coded(codes, self.scale[tokens]))[places]


class CodedLinear(torch.nn.Module):
    """A linear layer whose weights stay codes of a byte each, and are multiplied by their scales each time it is asked.

    (…, columns) → (…, rows); bit for bit what the dense one gives. That takes a quarter of the memory and a tenth more time.
    """

    scale: Tensor  # (rows, groups of a row)
    codes: Tensor  # (rows, columns) int8

    def __init__(self, grid: Grid, coded: Coded, bias: Tensor | None) -> None:
        super().__init__()
        self.grid, self.bias = grid, bias
        self.register_buffer("codes", coded.codes)
        self.register_buffer("scale", coded.scale)

    @property
    def weight(self) -> Tensor:
        """The dense weights, (rows, columns) float32, made anew."""
        return self.grid.values(Coded(self.codes, self.scale))

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, self.weight, self.bias)


def load_packed(folder: Path, attention: str) -> Any:
    """The classifier in `folder`, unpacked here, tensor by tensor: its library's imports (130 MB) are not needed for that.

    Token embeddings stay packed, and linear layers codes. Raises UserError where codes and what is said of them do not go
    together, or a weight is missing.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification
    from transformers.initialization import no_init_weights

    config_values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    grid = _grid_of(folder, config_values.pop("quantization_config"))
    config = AutoConfig.for_model(**config_values)
    with no_init_weights():  # numbers that nobody reads would be memory
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)
    with torch.no_grad():
        _fill(model, folder, grid)
    return model.eval()


def _fill(model: Any, folder: Path, grid: Grid) -> None:
    """Put the weights of the file in their places, each unpacked there and no other copy kept."""
    from safetensors import safe_open

    places = dict(model.named_parameters())
    looked_up = model.get_input_embeddings()
    linear = {f"{name}.weight": name for name, own in model.named_modules() if type(own) is torch.nn.Linear}
    with safe_open(str(folder / "model.safetensors"), framework="pt") as weights:
        for name in sorted(weights.keys()):
            if name.endswith(_PARTS) and not name.endswith(_PACKED):
                continue
            place = places.pop(name.removesuffix("_packed"), None)
            if place is None:
                raise UserError(f"{folder} has a weight that its model does not have: {name[:80]}; train again")
            if not name.endswith(_PACKED):
                _put(place, weights.get_tensor(name), folder, name)
                continue
            parts = {end: weights.get_tensor(name.removesuffix(_PACKED) + end) for end in _PARTS}
            _check(folder, name, grid, parts)
            if place is looked_up.weight and type(looked_up) is torch.nn.Embedding:
                rows = PackedEmbedding(
                    grid=grid, packed=parts[_PACKED], scale=parts["weight_scale"], columns=int(parts["weight_shape"][1])
                )
                model.set_input_embeddings(rows)
            elif name.removesuffix("_packed") in linear:
                module = linear[name.removesuffix("_packed")]
                layer = CodedLinear(grid, grid.loaded(parts), model.get_submodule(module).bias)
                model.set_submodule(module, layer)
            else:
                _put(place, grid.values(grid.loaded(parts)), folder, name)
    if places:
        raise UserError(f"{folder} lacks the weights {', '.join(sorted(places))[:80]}; train again")


def _put(place: Tensor, values: Tensor, folder: Path, name: str) -> None:
    if place.shape != values.shape:
        raise UserError(f"{folder}: {name[:80]} has the wrong shape; train again")
    place.copy_(values)


def _grid_of(folder: Path, config_values: Any) -> Grid:
    try:
        scheme = config_values["config_groups"]["group_0"]["weights"]
        bits, columns = int(scheme["num_bits"]), int(scheme.get("group_size") or 0)
        if config_values["format"] != "pack-quantized" or not 2 <= bits <= 8 or not 0 <= columns < 1 << 20:
            raise ValueError(f"{bits} bits by {columns}")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder} has codes of an unknown kind ({error}); train again") from error
    return Grid(bits, columns or "row")


def _check(folder: Path, name: str, grid: Grid, parts: dict[str, Tensor]) -> None:
    """Raises UserError for codes that have the wrong shape."""
    codes, scale, shape = (parts[end] for end in _PARTS)
    rows, columns = (int(length) for length in shape) if shape.numel() == 2 else (0, 0)
    groups = columns // grid.share if isinstance(grid.share, int) else 1
    fits = codes.shape == (rows, words_for(columns, grid.bits)) and scale.shape == (rows, groups)
    if not fits or codes.dtype != torch.int32 or not grid.fits((rows, columns)):
        raise UserError(f"{folder}: the codes of {name[:80]} have the wrong shape; train again")
