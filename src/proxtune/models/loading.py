"""From a model folder to a transformers model that learns. Safetensors only, no remote code."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from proxtune.errors import UserError
from proxtune.models.arguments import with_plain_arguments
from proxtune.models.classifier_head import replaces_head, settle_head
from proxtune.models.source import json_of
from proxtune.models.weights.loaded import check_loaded, head_parameters, new_layer_notes
from proxtune.models.weights.unused import sort_unused
from proxtune.models.word_classifier import answer_by_words, answers_by_words, classifying_by_words, forget_words

# Ends of the names of classes that have a head of their own in the place of the language model's.
_OTHER_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice")
_RANDOM = (
    "dropout",
    "dropout_prob",
    "dropout_rate",
    "_pdrop",
    "layerdrop",
    "jitter_noise",
    "dropatt",
    "drop_path_rate",
)
_RANDOM_NAMES = ("dropout_p", "drop_prob", "router_noise")


def classifier_config(folder: Path, labels: list[str], tokenizer: Any, max_length: int) -> Any:
    """The model's config with our classes, and without dropout.

    Dropout is off so that a batch gives the same gradient however it is cut into micro-batches; it also
    costs a fifth of the step. Eager attention is the faster kernel for short
    rows on a CPU and the one whose memory is linear enough to predict; long rows take the fused one.
    A model that generates text and has no classifier class in transformers classifies by words (`models/word_classifier.py`).
    Raises UserError for any other model without such a class.
    """
    config = _config_in(folder)
    forget_words(config)  # of what it may have been trained for before
    if not _has_classifier(config):
        if _generator(config) is None:
            raise UserError(
                f"transformers has no classifier for model type {config.model_type!r}, and it does not generate text either; "
                "choose another model"
            )
        answer_by_words(config)
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
    forget_words(config)
    if _generator(config) is None or (_other_head(config) and not _is_tied(config)):
        raise UserError(_no_generator(folder, config))
    for name in ("is_decoder", "causal"):  # of classes that are encoders too, and look ahead unless they are told
        if getattr(config, name, None) is False and not config.is_encoder_decoder:
            setattr(config, name, True)
    _for_training(config, tokenizer, max_length)
    return config


def _no_generator(folder: Path, config: Any) -> str:
    """Why a model generates no text: by its kind, or since its checkpoint has left the language model's head out."""
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

    named = ", ".join(map(str, getattr(config, "architectures", None) or [])) or "no architectures"
    decodes = type(config) in AutoModelForCausalLM._model_mapping and config.model_type not in MASKED
    if decodes or _generator(config) is not None:
        return (
            f"the model in {folder} is saved without a language model's head (config.json has {named}); give the model that it "
            "was made from"
        )
    return f"the model in {folder} ({config.model_type}) does not generate text; choose a GPT- or T5-class model, like smollm2"


def other_head_notes(config: Any) -> tuple[str, ...]:
    """What to say of a head that a model which is to generate text was saved with instead of the language model's."""
    name = _other_head(config)
    told = "its head is not used, and the language model's is that of its embeddings"
    return (f"the model was saved for another task ({name}): {told}",) if name else ()


def _other_head(config: Any) -> str | None:
    """The class that a model was saved as, where its head is none of a language model; None otherwise."""
    names = map(str, getattr(config, "architectures", None) or [])
    return next((name for name in names if name.endswith(_OTHER_HEADS)), None)


def _is_tied(config: Any) -> bool:
    """Whether the language model's head is the table of embeddings. T5 1.1 has one apart, though transformers 5 calls it tied."""
    return bool(config.tie_word_embeddings) and getattr(config, "scale_decoder_outputs", True) is not False


def _config_in(folder: Path) -> Any:
    import transformers
    from transformers import CONFIG_MAPPING, AutoConfig

    told = json_of(folder / "config.json", f"the model in {folder}")
    kind = told.get("model_type")
    if isinstance(kind, str) and kind not in CONFIG_MAPPING:
        if "auto_map" in told:
            raise UserError(
                f"the model in {folder} (model type {kind!r}) brings code of its own, which is never run; choose a model whose "
                "class is in transformers"
            )
        raise UserError(
            f"transformers {transformers.__version__} does not know the model type {kind!r} of {folder}; upgrade it, or choose "
            "another model"
        )
    try:
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:
        raise UserError(
            f"transformers cannot read the model in {folder}: {str(error).splitlines()[0][:200]}"
        ) from error


def _for_training(config: Any, tokenizer: Any, max_length: int) -> None:
    """No dropout, a padding id, and the attention that suits the length."""
    for own in _with_parts(config):
        for name, value in vars(own).items():
            if isinstance(value, float) and (name.endswith(_RANDOM) or name in _RANDOM_NAMES):
                setattr(own, name, 0.0)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    for own in (config, config.get_text_config()):
        if getattr(own, "pad_token_id", None) is None:
            own.pad_token_id = pad_id
    if config.is_encoder_decoder and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = getattr(config.get_text_config(), "bos_token_id", None) or config.pad_token_id
    config._attn_implementation = "eager" if max_length <= 256 else "sdpa"


def _with_parts(config: Any) -> list[Any]:
    """A config and those that it is made of."""
    from transformers import PreTrainedConfig

    parts = [value for value in vars(config).values() if isinstance(value, PreTrainedConfig)]
    return [config, *(each for part in parts for each in _with_parts(part))]


def _has_classifier(config: Any) -> bool:
    from transformers import AutoModelForSequenceClassification

    return type(config) in AutoModelForSequenceClassification._model_mapping


def _generator(config: Any) -> Any:
    """The transformers class that generates text with such a model: encoder-decoder or decoder; None for another model."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

    if config.is_encoder_decoder:
        return AutoModelForSeq2SeqLM if type(config) in AutoModelForSeq2SeqLM._model_mapping else None
    own = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)  # of models that see too, and have another name
    named = any(name == own or is_language_model(name) for name in getattr(config, "architectures", None) or [])
    if _other_head(config) and _is_tied(config) and config.model_type not in MASKED:
        named = True  # its embeddings are the language model's head
    return AutoModelForCausalLM if named and type(config) in AutoModelForCausalLM._model_mapping else None


def is_language_model(architecture: str) -> bool:
    """Whether a class of that name is a decoder with a language-model head."""
    return architecture.endswith(("ForCausalLM", "LMHeadModel", "LMHead", "GenerationDecoder"))


def _class_for(config: Any, auto: Any) -> Any:
    """The class that an auto class loads for `config`. Its code is imported, which takes a second."""
    found = auto._model_mapping[type(config)]
    return found[0] if isinstance(found, tuple) else found


def _classifying(config: Any) -> Any:
    """The auto class that loads a classifier of that config."""
    from transformers import AutoModelForSequenceClassification

    return _generator(config) if answers_by_words(config) else AutoModelForSequenceClassification


def import_classifier_code(config: Any) -> None:
    """Import the code of the classifier that `config` describes (a second), which transformers does at the first load."""
    _class_for(config, _classifying(config))


def import_generator_code(config: Any) -> None:
    """The same of a model that generates text."""
    _class_for(config, _generator(config))


def load_generator(folder: Path, config: Any, dtype: str = "fp32") -> Any:
    """The pretrained weights, held in `dtype` ("fp32", "bf16", or "auto" as they are saved), with their language-model head."""
    return _load(_generator(config), folder, config, dtype)


def _load(auto: Any, folder: Path, config: Any, dtype: str, replaces_head: bool = False) -> Any:
    """What `auto` loads, held in `dtype`, with an attention that its class has, and without dropout.

    With `replaces_head` a classification layer of another shape than the checkpoint's is drawn anew. Raises UserError where
    other weights are not in the files, or in another shape.
    """
    import torch

    config._attn_implementation = attention_for(_class_for(config, auto), config._attn_implementation)
    model, told = auto.from_pretrained(
        str(folder),
        config=config,
        dtype={"fp32": torch.float32, "bf16": torch.bfloat16, "auto": "auto"}[dtype],
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation=config._attn_implementation,
        ignore_mismatched_sizes=True,  # `check_loaded` refuses all but those of a replaced head
        output_loading_info=True,
    )
    head = head_parameters(model)
    unused = sort_unused(model, told["unexpected_keys"])
    check_loaded(told, folder, new=head, of_other_shape=head if replaces_head else (), unused=unused)
    model.loading_notes = (*unused.notes, *new_layer_notes(model, told["missing_keys"]))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):  # of a rate that the config does not name
            module.p = 0.0
    return model


def loading_notes(model: Any) -> tuple[str, ...]:
    """What was found out when `model` was loaded: weights of its files that it does not use, layers that they lack."""
    return tuple(getattr(model, "loading_notes", ()))


def attention_for(model_class: Any, wanted: str) -> str:
    """The attention called `wanted`, "eager" or "sdpa"; the plain one where a model's class has no fused one."""
    return "sdpa" if wanted == "sdpa" and getattr(model_class, "_supports_sdpa", False) else "eager"


def eos_token_ids(folder: Path) -> list[int]:
    """The token ids that end what a model generates, as its generation config knows them."""
    path = folder / "generation_config.json"
    found = json_of(path, f"the model in {folder}").get("eos_token_id") if path.is_file() else None
    return [int(end) for end in (found if isinstance(found, list) else [found]) if isinstance(end, int)]


def load_classifier(folder: Path, config: Any, seed: int, dtype: str = "fp32") -> Any:
    """The pretrained weights, held in `dtype` ("fp32" or "bf16"), under a new, seeded classification head.

    A layer that tells the same labels apart already is kept, its rows in their order (`models/classifier_head.py`): a trained
    classifier loads the same way.
    """
    import torch

    torch.manual_seed(seed)
    labels = list(config.id2label.values())
    by_words = answers_by_words(config)
    loaded = _load(_classifying(config), folder, config, dtype, not by_words and replaces_head(folder, labels))
    model = with_plain_arguments(loaded)
    if by_words:
        return classifying_by_words(model)
    settle_head(model, folder, labels, seed)
    return model


def longest_allowed(tokenizer: Any, config: Any) -> int:
    """Tokens that the model takes at most."""
    limits = [
        limit
        for limit in (
            getattr(tokenizer, "model_max_length", None),
            getattr(config, "max_position_embeddings", None)
            or getattr(config.get_text_config(), "max_position_embeddings", None),
        )
        if isinstance(limit, int) and 0 < limit < 10**6
    ]
    return min([*limits, *_places(config)], default=512)


def _places(config: Any) -> list[int]:
    """Tokens for which a model's tables of positions have a row each: in some the rows up to the padding id's are no position."""
    import torch

    if getattr(config.get_text_config(), "rope_parameters", None):
        return []  # positions are turned, not looked up; to find that out would import sympy, which takes half a second
    auto = _classifying(config) if _has_classifier(config) or answers_by_words(config) else _generator(config)
    try:
        with torch.device("meta"):
            model = _class_for(config, auto)(copy.deepcopy(config))
    except Exception:  # a class that must compute to be made
        return []
    places: list[int] = []
    for name, table in model.named_modules():
        weight, padding_id = getattr(table, "weight", None), getattr(table, "padding_idx", None)
        if "position" not in name or weight is None or padding_id is None:
            continue
        if type(table) is torch.nn.Embedding or not isinstance(
            table, torch.nn.Embedding
        ):  # sines begin at no such place
            places.append(len(weight) - padding_id - 1)
    return places
