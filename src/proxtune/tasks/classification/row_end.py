"""The end of a text, which the classifiers of encoder-decoders look for in every row: some tokenizers put none there."""

from __future__ import annotations

from typing import Any

_END = "<|end|>"


def needs_end(tokenizer: Any, config: Any) -> bool:
    """Whether a classifier of that config looks for an end that the tokenizer does not put behind a text."""
    if not config.is_encoder_decoder or config.eos_token_id is None:
        return False
    return config.eos_token_id not in tokenizer("a")["input_ids"]


def append_end(tokenizer: Any, config: Any) -> None:
    """Let the tokenizer put the end behind every text, within what truncation leaves; it is saved with the tokenizer."""
    from tokenizers.processors import TemplateProcessing

    backend, end = tokenizer.backend_tokenizer, int(config.eos_token_id)
    shown = backend.encode("a")
    before = shown.ids[: shown.sequence_ids.index(0)]
    first = "".join(f"#{number} " for number in before)
    named = [(f"#{number}", number) for number in dict.fromkeys(before)]
    backend.post_processor = TemplateProcessing(
        single=f"{first}$A {_END}", pair=f"{first}$A $B {_END}", special_tokens=[*named, (_END, end)]
    )
