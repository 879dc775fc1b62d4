"""How a model generates text: the likeliest token after another, without what the base model's makers set for their own task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proxtune.models.source import json_of

# What shapes an answer beside the model. Sampling (temperature, top_p) is off anyway, and lengths are ours.
_SHAPES = (
    *(
        "min_length",
        "min_new_tokens",
        "num_beams",
        "num_beam_groups",
        "early_stopping",
        "length_penalty",
        "diversity_penalty",
    ),
    *("repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"),
    *("forced_bos_token_id", "forced_eos_token_id", "forced_decoder_ids", "suppress_tokens", "begin_suppress_tokens"),
    *(
        "bad_words_ids",
        "force_words_ids",
        "sequence_bias",
        "exponential_decay_length_penalty",
        "penalty_alpha",
        "guidance_scale",
    ),
    *("stop_strings", "renormalize_logits", "watermarking_config", "prompt_lookup_num_tokens", "token_healing"),
)
_ONE_CHANGES_NOTHING = (
    *("num_beams", "num_beam_groups", "guidance_scale"),
    *("length_penalty", "repetition_penalty", "encoder_repetition_penalty"),
)
_LONGEST_VALUE = 40  # characters of one in a note


def left_over_settings(folder: Path) -> dict[str, Any]:
    """The settings of the base model that would shape answers, those in config.json of older models among them."""
    name = f"the model in {folder}"
    files = [folder / file for file in ("config.json", "generation_config.json")]
    told = {key: value for file in files if file.is_file() for key, value in json_of(file, name).items()}
    return {key: told[key] for key in _SHAPES if key in told and _shapes(key, told[key])}


def answers_plainly(generation_config: Any) -> bool:
    """Whether nothing in a model's generation config would shape its answers."""
    return not any(_shapes(key, getattr(generation_config, key, None)) for key in _SHAPES)


def _shapes(key: str, value: Any) -> bool:
    if value is None or value is True or key.endswith("_token_id"):
        return value is not None
    return value not in (0, [], {}) and (value != 1 or key not in _ONE_CHANGES_NOTHING)


def left_over_notes(folder: Path) -> tuple[str, ...]:
    """What to say of them."""
    found = left_over_settings(folder)
    if not found:
        return ()
    named = ", ".join(f"{key}={str(value)[:_LONGEST_VALUE]}" for key, value in found.items())
    return (f"the base model's settings for generation are left out: {named}",)


def generate_plainly(model: Any, config: Any, forced_bos_token_id: int | None = None) -> None:
    """Leave of a model's generation config what a text begins and ends with; `forced_bos_token_id` names its language."""
    from transformers import GenerationConfig

    old = model.generation_config
    start = getattr(config, "decoder_start_token_id", None)
    model.generation_config = GenerationConfig(
        bos_token_id=old.bos_token_id,
        eos_token_id=old.eos_token_id,
        pad_token_id=old.pad_token_id,
        decoder_start_token_id=old.decoder_start_token_id if start is None else start,
        forced_bos_token_id=forced_bos_token_id,
    )
    for own in (model.config, config):  # pipelines of transformers 4 take these for settings of their own
        vars(own).pop("task_specific_params", None)
