"""A tokenizer as it is saved: it comes back as it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxtune.models.post_processor import has_own_ending, keeps_post_processor


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer so that it comes back as it is, in transformers 4.57 too. Raises OSError.

    Some classes build anew at each load what is put around a text (GPT-NeoX's, Llama's in transformers 4), and the flags that
    tell them how are not saved. The class that reads tokenizer.json as it stands is named instead.
    """
    tokenizer.save_pretrained(str(folder))
    path = folder / "tokenizer_config.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told["model_input_names"] = list(tokenizer.model_input_names)  # which other versions have other defaults for
    extra = told.get("extra_special_tokens")
    if isinstance(extra, list):  # transformers 4.57 takes a dict of that name
        told["additional_special_tokens"] = told.pop("extra_special_tokens")
    if keeps_post_processor(tokenizer) and _needs_plain_class(tokenizer, told):
        told["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(told, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _needs_plain_class(tokenizer: Any, told: Mapping[str, Any]) -> bool:
    flags = {"add_bos_token", "add_eos_token"} & tokenizer.init_kwargs.keys()
    return has_own_ending(tokenizer) or bool(flags) or told["tokenizer_class"] == "TokenizersBackend"


def set_option(tokenizer: Any, name: str, value: Any) -> None:
    """Set one of the tokenizer's options so that it is saved with it."""
    setattr(tokenizer, name, value)
    tokenizer.init_kwargs[name] = value
