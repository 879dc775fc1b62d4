"""Attention of one new token, heads that share a key in one product: nothing is repeated for them, whatever the model is set to.

Only for models whose attention is the usual one, which the code of their modules shows (`has_usual_attention`).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_NAME = "proxtune_grouped"
_KNOWN = ("eager", "sdpa")


def grouped_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **more: Any
) -> tuple[Tensor, None]:
    """What transformers' fused attention says, (rows, tokens, heads, width): `query` is (rows, heads, tokens, width)."""
    rows, heads, tokens, width = query.shape
    if tokens != 1 or (attention_mask is not None and attention_mask.shape[1] != 1):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key.contiguous(), value, attention_mask, **more)
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], width)
    # The cache holds keys as this product reads them; fused attention, made for many tokens, takes twice as long for one.
    scores = torch.matmul(grouped, key.transpose(2, 3)).float() * (more.get("scaling") or width**-0.5)
    if attention_mask is not None:  # (rows, 1, 1, tokens), true where a token is seen
        scores = scores.masked_fill(~attention_mask, -torch.inf)
    said = torch.matmul(scores.softmax(-1).to(value.dtype), value)
    return said.reshape(rows, 1, heads, value.shape[-1]), None


@contextmanager
def grouping_heads(model: Any) -> Iterator[None]:
    """While this lasts, the model attends by `grouped_attention`. For one with `has_usual_attention`."""
    with attending_by(model, _NAME, grouped_attention):
        yield


@contextmanager
def attending_by(model: Any, name: str, attention: Callable[..., tuple[Tensor, None]]) -> Iterator[None]:
    """While this lasts, the model attends by `attention`, which takes what transformers' fused attention does, masks too."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, sdpa_mask)
    configs = {
        id(config): config for module in model.modules() if (config := getattr(module, "config", None)) is not None
    }
    before = [(config, config._attn_implementation_internal) for config in configs.values()]
    try:
        for config, _ in before:
            config._attn_implementation_internal = name
        yield
    finally:
        for config, former in before:
            config._attn_implementation_internal = former


def has_usual_attention(model: Any) -> bool:
    """Whether all that attends in a model does so as Llama: by transformers' interface, and its plain way is ours to the byte.

    A cap on the logits, sinks and biases by position are in that code, so a model with them is none.
    """
    if not (getattr(model, "_supports_attention_backend", False) and getattr(model, "_supports_sdpa", False)):
        return False
    if getattr(model.config, "_attn_implementation", None) not in _KNOWN:
        return False
    files = {sys.modules[type(module).__module__] for module in model.modules()}
    plain = [vars(file)["eager_attention_forward"] for file in files if "eager_attention_forward" in vars(file)]
    return bool(plain) and all(_code(each) == _code(_usual_attention) for each in plain)


def _code(function: Callable[..., Any]) -> tuple[Any, ...]:
    """What a function does, without what it is called and where it stands."""
    code = inspect.unwrap(function).__code__
    constants = tuple(value for value in code.co_consts if value != function.__doc__)
    return (code.co_code, code.co_names, code.co_varnames, constants)


def repeat_kv(hidden_states: Tensor, n_rep: int) -> Tensor:
    """Each key, or value, as often as heads share it."""
    return hidden_states.repeat_interleave(n_rep, dim=1)


# Llama's, name by name: what `has_usual_attention` compares with, and the slow twin in the tests.
def _usual_attention(  # type: ignore[no-untyped-def]
    module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs
):
    key_states = repeat_kv(key, module.num_key_value_groups)
    value_states = repeat_kv(value, module.num_key_value_groups)

    attn_weights = torch.matmul(query, key_states.transpose(2, 3)) * scaling
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask

    attn_weights = nn.functional.softmax(attn_weights, dim=-1, dtype=torch.float32).to(query.dtype)
    attn_weights = nn.functional.dropout(attn_weights, p=dropout, training=module.training)
    attn_output = torch.matmul(attn_weights, value_states)
    attn_output = attn_output.transpose(1, 2).contiguous()

    return attn_output, attn_weights
