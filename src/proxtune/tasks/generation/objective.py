"""The objective of text generation: −log P of each of the answer's tokens, and of nothing else.

The language-model head sees the answers' places alone, and some of them at a time: logits of a whole batch, (tokens,
vocabulary), would be larger than all the rest of a step. Where the head learns or what is below it, its part of the backward
pass is done at once, as in the fused losses of Liger kernel (Hsu et al., 2024):

    L = Σ_i −log softmax(W h_i)[y_i],   ∂L/∂h_i = Wᵀ (p_i − e_{y_i}),   ∂L/∂W = Σ_i (p_i − e_{y_i}) h_iᵀ
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proxtune.data.batching import collate
from proxtune.data.dataset import Encoded, Objective
from proxtune.errors import UserError
from proxtune.models.introspection import without_adapters

_CHUNK_NUMBERS = 2_000_000  # logits at a time
HEAD_BYTES = 10 * _CHUNK_NUMBERS  # what they take: logits, their slope, and the slope once more in bfloat16
_TOLERANCE = 0.02  # of the largest logit: bfloat16 has 8 bits


def outputs(model: Any, data: Encoded, rows: np.ndarray, pad_id: int) -> Tensor:
    """For each row −log P of its answer and the tokens of that, (rows, 2) float32."""
    hidden, targets, owner, head, one = _at_answers(model, data, rows, pad_id)
    head.check(hidden[:1], one)
    found = torch.zeros(len(rows), 2, device=hidden.device)
    for piece in _chunks(len(targets), head.vocabulary):
        logits = head.logits(hidden[piece])
        lost = torch.logsumexp(logits, -1) - logits.gather(1, targets[piece, None]).squeeze(1)
        found[:, 0].index_add_(0, owner[piece], lost)
    found[:, 1].index_add_(0, owner, torch.ones_like(owner, dtype=torch.float32))
    return found


def loss(
    model: Any, data: Encoded, rows: np.ndarray, pad_id: int, whole: np.ndarray, teacher: np.ndarray | None = None
) -> Tensor:
    """Σ over the answers' tokens in `rows` of −log P, divided by those of the `whole` batch."""
    assert teacher is None, "answers are not taught"
    hidden, targets, _, head, _ = _at_answers(model, data, rows, pad_id)
    tokens = int(data.answer_lengths[whole].sum())
    return _HeadLoss.apply(hidden, head.weight, head.bias, targets, head) / tokens


def score(found: np.ndarray, data: Encoded) -> dict[str, float]:
    """loss (mean −log P of a token) and perplexity."""
    lost = float(found[:, 0].sum() / found[:, 1].sum())
    return {"loss": lost, "perplexity": math.exp(min(lost, 700.0))}


def rank(metrics: Mapping[str, float]) -> tuple[float, float]:
    """Better where tokens are likelier, as a chance (0 to 1)."""
    return math.exp(-metrics["loss"]), -metrics["loss"]


class _Head:
    """The language-model head of a model: what is known of how hidden states become logits."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        layer, config = model.get_output_embeddings(), model.config.get_text_config()
        self.layer, self.weight, self.bias = layer, layer.weight, layer.bias
        self.vocabulary = len(layer.weight)
        self.cap = getattr(config, "final_logit_softcapping", None)  # Gemma
        self.scale = float(getattr(config, "logit_scale", None) or 1.0)  # Cohere
        self.scale /= float(getattr(config, "logits_scaling", None) or 1.0)  # Granite
        self.dtype, self.cast = dtype, layer.weight.to(dtype)  # that products are computed in

    def raw(self, hidden: Tensor) -> Tensor:
        """W h + b, (n, vocabulary) float32."""
        bias = None if self.bias is None else self.bias.to(self.dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            return torch.nn.functional.linear(hidden.to(self.dtype), self.cast, bias).float()

    def logits(self, hidden: Tensor) -> Tensor:
        """What the model makes of hidden states (n, width): (n, vocabulary) float32."""
        raw = self.raw(hidden).mul_(self.scale)
        return raw if self.cap is None else raw.div_(self.cap).tanh_().mul_(self.cap)

    def slope(self, logits: Tensor, of_logits: Tensor) -> Tensor:
        """The gradient of `raw` from that of the logits, in place."""
        if self.cap is not None:
            of_logits.mul_(1 - (logits / self.cap).square())
        return of_logits.mul_(self.scale)

    def check(self, hidden: Tensor, theirs: Tensor) -> None:
        """Raises UserError where the model itself makes something else of a hidden state."""
        ours, theirs = self.logits(hidden), theirs.float().reshape(1, -1)[:, : self.vocabulary]
        if not torch.allclose(ours, theirs, rtol=_TOLERANCE, atol=_TOLERANCE * float(ours.abs().max() + 1)):
            raise UserError(
                "this model changes its logits in a way that proxtune does not support; choose another model"
            )


class _HeadLoss(torch.autograd.Function):
    """Σ −log softmax(logits)[target] over hidden states (n, width), its gradients made in the same go."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, head: _Head) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        total = torch.zeros((), device=hidden.device)
        of_hidden = torch.empty_like(hidden) if needs_hidden else None
        of_weight = torch.zeros_like(weight) if needs_weight else None
        of_bias = torch.zeros_like(bias) if bias is not None and needs_bias else None
        for piece in _chunks(len(targets), head.vocabulary):
            logits = head.logits(hidden[piece])
            places, right = torch.arange(len(logits), device=hidden.device), targets[piece]
            log_sum = torch.logsumexp(logits, -1)
            total += (log_sum - logits[places, right]).sum()
            slope = (logits - log_sum[:, None]).exp_()
            slope[places, right] -= 1
            slope = head.slope(logits, slope).to(head.dtype)
            if of_hidden is not None:
                of_hidden[piece] = (slope @ head.cast).to(hidden.dtype)
            if of_weight is not None:
                of_weight += (slope.T @ hidden[piece].to(head.dtype)).to(weight.dtype)
            if of_bias is not None:
                of_bias += slope.sum(0).to(of_bias.dtype)
        ctx.made = of_hidden, of_weight, of_bias
        return total

    @staticmethod
    def backward(ctx: Any, *of_total: Tensor) -> tuple[Tensor | None, ...]:
        made = tuple(part.mul_(of_total[0]) if part is not None else None for part in ctx.made)
        del ctx.made
        return (*made, None, None)


def _at_answers(
    model: Any, data: Encoded, rows: np.ndarray, pad_id: int
) -> tuple[Tensor, Tensor, Tensor, _Head, Tensor]:
    """What the head sees where the answers' tokens are to be said.

    Hidden states (n, width), the tokens (n,), the row of each (n,) as an index into `rows`, the head, and the model's own
    logits of the first place (1, vocabulary).
    """
    device = next(model.parameters()).device
    ids, mask = (part.to(device) for part in collate(data, rows, pad_id))
    assert data.begins is not None, "rows have answers"
    more: dict[str, Tensor] = {}
    if data.answers is None:
        ends = data.starts[rows + 1] - data.starts[rows]
        spans = [np.arange(begin, end) for begin, end in zip(data.begins[rows], ends, strict=True)]
        targets = ids.new_tensor(
            np.concatenate([data.ids[data.starts[row] :][span] for row, span in zip(rows, spans, strict=True)])
        )
        places = np.concatenate([i * ids.shape[1] + span - 1 for i, span in enumerate(spans)])
    else:
        wanted, there = collate(data.answers, rows, pad_id)
        spans = [np.flatnonzero(row) for row in there.numpy()]
        targets = torch.cat([row[: len(span)] for row, span in zip(wanted, spans, strict=True)]).to(device)
        places = np.concatenate([i * wanted.shape[1] + span for i, span in enumerate(spans)])
        first = torch.full((len(rows), 1), _first_token(model))
        more["decoder_input_ids"] = torch.cat([first, wanted[:, :-1]], 1).to(device)
    owner = torch.from_numpy(np.repeat(np.arange(len(rows)), [len(span) for span in spans])).to(device)
    index = torch.from_numpy(places).to(device)
    plain, seen = without_adapters(model), []

    def select(layer: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(given[0].flatten(0, -2).index_select(0, index))  # (n, width): contiguous and two-dimensional
        return (seen[-1][:1],)

    hook = plain.get_output_embeddings().register_forward_pre_hook(select)
    try:
        one = model(input_ids=ids, attention_mask=mask, use_cache=False, **more).logits.detach()
    finally:
        hook.remove()
    weight = plain.get_output_embeddings().weight
    autocast = torch.is_autocast_enabled(device.type)
    head = _Head(plain, torch.get_autocast_dtype(device.type) if autocast else weight.dtype)
    return seen[0], targets, owner, head, one


def _first_token(model: Any) -> int:
    """The token that an encoder-decoder's answers begin after."""
    found = without_adapters(model).config.decoder_start_token_id
    assert found is not None, "an encoder-decoder says how answers begin"
    return int(found)


def _chunks(count: int, vocabulary: int) -> list[slice]:
    each = max(1, _CHUNK_NUMBERS // vocabulary)
    return [slice(begin, begin + each) for begin in range(0, count, each)]


ANSWERS = Objective(outputs=outputs, loss=loss, score=score, rank=rank, long_rows=True, reads_vocabulary=True)
