"""The end of a text, which the classifiers of encoder-decoders look for in every row: some tokenizers put none there."""

from __future__ import annotations

from typing import Any

from proxtune.models.post_processor import end_texts_with


def needs_end(tokenizer: Any, config: Any) -> bool:
    """Whether a classifier of that config looks for an end that the tokenizer does not put behind a text."""
    if not config.is_encoder_decoder or config.eos_token_id is None:
        return False
    return config.eos_token_id not in tokenizer("a")["input_ids"]


def append_end(tokenizer: Any, config: Any) -> None:
    """Let the tokenizer put the end behind every text, within what truncation leaves; it is saved with the tokenizer."""
    end_texts_with(tokenizer, [int(config.eos_token_id)])
