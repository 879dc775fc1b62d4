"""One way to call every model: token ids and a mask, of rows that are padded on the right.

Some classes take no mask, and some look at the padding whatever the mask says (convolutions, Fourier transforms, pooling over
the length): those see rows without any.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any


def with_plain_arguments(model: Any) -> Any:
    """The model, no longer given the arguments that its class does not take, and keeping no cache. Changed in place.

    The method is replaced in this one model: adapters around it call that, past all hooks.
    """
    taken = inspect.signature(model.forward).parameters
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values())
    unknown = [] if takes_all else [name for name in ("attention_mask", "token_type_ids") if name not in taken]
    if not unknown and "use_cache" not in taken:
        return model
    usual = {"use_cache": False} if "use_cache" in taken else {}
    own = model.forward

    @functools.wraps(own)
    def forward(*inputs: Any, **named: Any) -> Any:
        return own(*inputs, **{**usual, **{name: value for name, value in named.items() if name not in unknown}})

    model.forward = forward
    return model


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
