"""Classification by a language-model head: each label has a token, and the likeliest of them is the answer.

For models that generate text and have no classifier class in transformers. What is saved is the language model itself: plain
transformers loads it, and its next token after a text is a label's. `label_token_ids` in its config says which is whose.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from proxtune.errors import UserError

_FIELD = "label_token_ids"


def answer_by_words(config: Any) -> None:
    """Mark a config: its model answers by words, which are yet to be chosen."""
    if not hasattr(config, _FIELD):
        setattr(config, _FIELD, [])


def forget_words(config: Any) -> None:
    """Mark a config no more."""
    if hasattr(config, _FIELD):
        delattr(config, _FIELD)


def answers_by_words(config: Any) -> bool:
    """Whether the model of that config is such a classifier."""
    return hasattr(config, _FIELD)


def set_label_tokens(config: Any, words: Sequence[str], tokenizer: Any) -> None:
    """Choose a token for each word and keep them in the config."""
    setattr(config, _FIELD, label_tokens(words, tokenizer))


def label_tokens(words: Sequence[str], tokenizer: Any) -> list[int]:
    """A token for each word, no two the same: its first where that tells all words apart, else any of it that does, else any."""
    ordinary = set(range(len(tokenizer))) - set(tokenizer.all_special_ids)
    own = [
        [token for token in tokenizer(word, add_special_tokens=False)["input_ids"] if token in ordinary]
        for word in words
    ]
    firsts = [tokens[0] for tokens in own if tokens]
    if len(set(firsts)) == len(words):
        return firsts
    spare, chosen = iter(sorted(ordinary - {token for tokens in own for token in tokens}, reverse=True)), list[int]()
    for number, tokens in enumerate(own):
        others = {token for other, each in enumerate(own) if other != number for token in each}
        mine = next((token for token in tokens if token not in others and token not in chosen), None)
        chosen.append(next(spare) if mine is None else mine)
    return chosen


def first_answer_token(model: Any) -> int:
    """The token that an encoder-decoder's answers begin after."""
    places = (model.config, model.config.get_text_config(decoder=True), getattr(model, "generation_config", None))
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        found = [getattr(place, name, None) for place in places]
        for token in found:
            if isinstance(token, int):
                return token
    raise AssertionError("an encoder-decoder says how answers begin")


def classifying_by_words(model: Any) -> Any:
    """The language model, its logits now log P of each label's token after a row, (rows, labels). Changed in place.

    Raises UserError for tokens that are none.
    """
    import torch
    from transformers.modeling_outputs import SequenceClassifierOutput

    tokens, vocabulary = model.config.label_token_ids, model.config.get_text_config().vocab_size
    known = isinstance(tokens, list) and all(isinstance(token, int) and 0 <= token < vocabulary for token in tokens)
    if not known or len(tokens) != model.config.num_labels:
        raise UserError("label_token_ids in config.json has no token for each label; train again")
    own, encodes = model.forward, bool(model.config.is_encoder_decoder)

    @functools.wraps(own)
    def forward(input_ids: Any, attention_mask: Any, **named: Any) -> Any:
        rows = torch.arange(len(input_ids), device=input_ids.device)
        places, more = attention_mask.sum(1) - 1, {}
        if encodes:
            places = torch.zeros_like(rows)
            more["decoder_input_ids"] = torch.full_like(input_ids[:, :1], first_answer_token(model))

        def last(layer: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden = given[0]
            return (hidden[rows, places][:, None] if hidden.dim() == 3 and hidden.shape[1] > 1 else hidden, *given[1:])

        hook = model.get_output_embeddings().register_forward_pre_hook(last)
        try:
            found = own(input_ids=input_ids, attention_mask=attention_mask, **more).logits
        finally:
            hook.remove()
        chances = found[:, 0].float().log_softmax(-1)  # (rows, vocabulary)
        return SequenceClassifierOutput(logits=chances[:, model.config.label_token_ids])

    model.forward = forward
    return model
