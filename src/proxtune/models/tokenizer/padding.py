"""The padding token, on which tokenizer and model must agree."""

from __future__ import annotations

from typing import Any

from proxtune.errors import UserError

_FILLERS = ("eos_token", "bos_token", "unk_token", "sep_token", "cls_token")  # of a padding token, the best first
_NEW_FILLER = "<|pad|>"


def agree_on_padding(tokenizer: Any, config: Any) -> tuple[str, ...]:
    """One padding token for tokenizer and config, chosen among the tokenizer's own where it names none; notes on the choice.

    A decoder's classifier looks for the last token that is none, so config and tokenizer must mean the same.
    Raises UserError where there is nothing to choose from.
    """
    notes: tuple[str, ...] = ()
    own = getattr(config, "pad_token_id", None)
    known = isinstance(own, int) and own in tokenizer.added_tokens_decoder
    if tokenizer.pad_token_id is None:
        filler = tokenizer.added_tokens_decoder[own].content if known else _filler(tokenizer, config)
        if not known:
            notes = (f"the tokenizer has no padding token that the model knows: {filler!r} fills rows up",)
        tokenizer.add_special_tokens({"pad_token": filler})
    if not known or _is_decoder(config):
        config.pad_token_id = tokenizer.pad_token_id
    return notes


def _filler(tokenizer: Any, config: Any) -> str:
    """A token to pad with: one that ends, begins or marks, never one that stands for words; a new one where there is none such
    and the embedding has a row to spare.
    """
    named = [str(getattr(tokenizer, role)) for role in _FILLERS if getattr(tokenizer, role, None) is not None]
    special = [token.content for _, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
    if named or special:
        return (named or special)[0]
    if len(tokenizer) < int(getattr(config, "vocab_size", None) or 0):
        return _NEW_FILLER
    raise UserError(
        "the tokenizer has neither a padding token nor one that ends a text, and the model no row for a new one; name a "
        "pad_token in tokenizer_config.json"
    )


def _is_decoder(config: Any) -> bool:
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in getattr(config, "architectures", None) or [])
