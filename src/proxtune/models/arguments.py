"""One way to call every model: token ids and a mask, of rows that are padded on the right.

Some classes take no mask, and some look at the padding whatever the mask says (convolutions, Fourier transforms, pooling over
the length): those see rows without any.
"""

from __future__ import annotations

import functools
import inspect
import math
from typing import Any


def with_plain_arguments(model: Any) -> Any:
    """The model, no longer given the arguments that its class does not take, and keeping no cache. Changed in place.

    Where rows that are learned from must have whole chunks, they are filled up to that. The method is replaced in this one
    model: adapters around it call that, past all hooks.
    """
    taken = inspect.signature(model.forward).parameters
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values())
    unknown = [] if takes_all else [name for name in ("attention_mask", "token_type_ids") if name not in taken]
    chunk = _chunk_length(model)
    if not unknown and "use_cache" not in taken and chunk == 1:
        return model
    usual = {"use_cache": False} if "use_cache" in taken else {}
    own = model.forward

    @functools.wraps(own)
    def forward(*inputs: Any, **named: Any) -> Any:
        if model.training and chunk > 1:
            named = _filled_up(named, chunk, model.config.pad_token_id)
        return own(*inputs, **{**usual, **{name: value for name, value in named.items() if name not in unknown}})

    model.forward = forward
    return model


def _chunk_length(model: Any) -> int:
    """Tokens that a row must have a multiple of while the model learns (Reformer); 1 for any other."""
    config = getattr(model, "config", None)
    kinds = set(getattr(config, "attn_layers", None) or ())
    lengths = (getattr(config, f"{kind}_attn_chunk_length", None) for kind in kinds if isinstance(kind, str))
    return math.lcm(*(length for length in lengths if isinstance(length, int)))


def _filled_up(named: dict[str, Any], chunk: int, pad_id: int) -> dict[str, Any]:
    """Token ids and mask with padding up to a multiple of `chunk`."""
    import torch

    more = -named["input_ids"].shape[1] % chunk
    values = {"input_ids": pad_id, "attention_mask": 0}
    return {
        name: torch.nn.functional.pad(value, (0, more), value=values[name]) if name in values else value
        for name, value in named.items()
    }


def without_padding(model: Any) -> Any:
    """The classifier, given rows of one length at a time and never a padded one. Changed in place."""
    import torch
    from transformers.modeling_outputs import SequenceClassifierOutput

    own = model.forward

    @functools.wraps(own)
    def forward(input_ids: Any, attention_mask: Any, **named: Any) -> Any:
        lengths = attention_mask.sum(1)
        logits, order = [], []
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero().flatten()
            few = {name: value[rows, :length] for name, value in named.items() if isinstance(value, torch.Tensor)}
            found = own(input_ids=input_ids[rows, :length], attention_mask=attention_mask[rows, :length], **few)
            logits.append(found.logits)
            order.append(rows)
        back = torch.argsort(torch.cat(order))
        return SequenceClassifierOutput(logits=torch.cat(logits)[back])

    model.forward = forward
    return model
