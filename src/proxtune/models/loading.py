"""From a model folder to a transformers model that learns. Safetensors only, no remote code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proxtune.errors import UserError
from proxtune.models.classifier_head import replaces_head, settle_head
from proxtune.models.source import json_of


def classifier_config(folder: Path, labels: list[str], tokenizer: Any, max_length: int) -> Any:
    """The model's config with our classes, and without dropout.

    Dropout is off so that a batch gives the same gradient however it is cut into micro-batches; it also
    costs a fifth of the step. Eager attention is the faster kernel for short
    rows on a CPU and the one whose memory is linear enough to predict; long rows take the fused one.
    Raises UserError for an architecture that transformers does not know as a classifier.
    """
    from transformers import AutoModelForSequenceClassification

    config = _config_in(folder)
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        raise UserError(f"transformers has no classifier for model type {config.model_type!r}; choose another model")
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    _for_training(config, tokenizer, max_length)
    return config


def generator_config(folder: Path, tokenizer: Any, max_length: int) -> Any:
    """The config of a model that generates text, without dropout as in `classifier_config`.

    Raises UserError for a model that generates none.
    """
    config = _config_in(folder)
    if _generator(config) is None:
        raise UserError(
            f"the model in {folder} ({config.model_type}) does not generate text; choose a GPT- or T5-class model, like smollm2"
        )
    _for_training(config, tokenizer, max_length)
    return config


def _config_in(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:
        raise UserError(
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


def _generator(config: Any) -> Any:
    """The transformers class that generates text with such a model: encoder-decoder or decoder; None for another model."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    if config.is_encoder_decoder:
        return AutoModelForSeq2SeqLM if type(config) in AutoModelForSeq2SeqLM._model_mapping else None
    named = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in getattr(config, "architectures", None) or [])
    return AutoModelForCausalLM if named and type(config) in AutoModelForCausalLM._model_mapping else None


def import_classifier_code(config: Any) -> None:
    """Import the code of the classifier that `config` describes (a second), which transformers does at the first load."""
    from transformers import AutoModelForSequenceClassification

    _ = AutoModelForSequenceClassification._model_mapping[type(config)]


def import_generator_code(config: Any) -> None:
    """The same of a model that generates text."""
    _ = _generator(config)._model_mapping[type(config)]


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


def eos_token_ids(folder: Path) -> list[int]:
    """The token ids that end what a model generates, as its generation config knows them."""
    path = folder / "generation_config.json"
    found = json_of(path, f"the model in {folder}").get("eos_token_id") if path.is_file() else None
    return [int(end) for end in (found if isinstance(found, list) else [found]) if isinstance(end, int)]


def load_classifier(folder: Path, config: Any, seed: int, dtype: str = "fp32") -> Any:
    """The pretrained weights, held in `dtype` ("fp32" or "bf16"), under a new, seeded classification head.

    A classification layer that tells the same labels apart is kept, its rows in their order (`models/classifier_head.py`).
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    labels = list(config.id2label.values())
    model = AutoModelForSequenceClassification.from_pretrained(
        str(folder),
        config=config,
        dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype],
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation=config._attn_implementation,
        ignore_mismatched_sizes=replaces_head(folder, labels),
    )
    settle_head(model, folder, labels, seed)
    return model


def longest_allowed(tokenizer: Any, config: Any) -> int:
    """Tokens that the model takes at most."""
    limits = [
        limit
        for limit in (getattr(tokenizer, "model_max_length", None), getattr(config, "max_position_embeddings", None))
        if isinstance(limit, int) and 0 < limit < 10**6
    ]
    if "roberta" in config.model_type and limits:
        limits.append(min(limits) - 2)  # its position ids begin after the padding id
    return min(limits, default=512)
