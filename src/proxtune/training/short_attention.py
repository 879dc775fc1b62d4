"""Attention of short rows in a training step, by plain products: in bf16 that is three times as fast on a processor.

torch's fused kernel is made for long rows: of 64 tokens its backward pass takes a quarter of SmolLM2's step. What each token
attends to is kept for the backward pass, in bf16; of so short rows that is little. Heads that share a key attend in one product.
Only for models whose attention is the usual one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from proxtune.models.introspection import without_adapters
from proxtune.tasks.generation.greedy.attention import attending_by, has_usual_attention

# Tokens of a row, by the attention that the model would have. What is kept grows with their square: for longer rows than these
# more than is gained over fused attention. A model with plain attention has no longer rows, and keeps three times as much.
_LONGEST = {"sdpa": 128, "eager": 256}


class ShortAttention(torch.autograd.Function):
    """softmax(s q kᵀ) v over the tokens that `mask` (rows or 1, 1, tokens, tokens) shows; (rows, heads, tokens, width).

    Of `key` and `value` there may be fewer heads, each for as many of `query`'s.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        scores = _grouped(query * scale, key) @ key.transpose(-1, -2)
        if mask is not None:
            scores.view(*query.shape[:-1], key.shape[2]).masked_fill_(~mask, torch.finfo(scores.dtype).min)
        shares = scores.softmax(-1, dtype=torch.float32).to(value.dtype)  # (rows, heads of key, their tokens, tokens)
        said = (shares @ value).view(query.shape)
        ctx.save_for_backward(query, key, value, shares, said)
        ctx.scale = scale
        return said

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, shares, said = ctx.saved_tensors
        slope = _grouped(slopes[0], value)
        of_shares = slope @ value.transpose(-1, -2)
        of_shares -= _grouped((slopes[0] * said).sum(-1, keepdim=True), value)  # Σ over tokens of share · slope
        of_scores = of_shares.mul_(shares)
        of_query = (of_scores @ key * ctx.scale).view(query.shape)
        of_key = of_scores.transpose(-1, -2) @ _grouped(query * ctx.scale, key)
        return of_query, of_key, shares.transpose(-1, -2) @ slope, None, None


def _grouped(query: Tensor, key: Tensor) -> Tensor:
    """(rows, heads of key, tokens of all heads that share one, width)."""
    rows, heads, tokens, width = query.shape
    return query.reshape(rows, key.shape[1], heads // key.shape[1] * tokens, width)


def short_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, longest: int, **more: Any
) -> tuple[Tensor, None]:
    """What transformers' fused attention says, (rows, tokens, heads, width); of rows longer than `longest`, what itself says."""
    tokens = query.shape[2]
    if query.dtype != torch.bfloat16 or not 1 < tokens == key.shape[2] <= longest or more.get("dropout"):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)
    mask, is_causal = attention_mask, more.get("is_causal")
    if mask is None and (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        mask = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril()[None, None]
    said = ShortAttention.apply(query, key, value, mask, more.get("scaling") or query.shape[-1] ** -0.5)
    return said.transpose(1, 2).contiguous(), None


@contextmanager
def attending_to_short_rows(model: Any, dtype: str) -> Iterator[None]:
    """While this lasts, a model that computes in bf16 on a processor attends by `short_attention`, if `has_usual_attention`."""
    plain = without_adapters(model)
    if dtype != "bf16" or next(plain.parameters()).device.type != "cpu" or not has_usual_attention(plain):
        yield
        return
    usual = plain.config._attn_implementation
    with attending_by(plain, f"proxtune_short_{usual}", partial(short_attention, longest=_LONGEST[usual])):
        yield
