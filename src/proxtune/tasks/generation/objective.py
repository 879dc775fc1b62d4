"""The objective of text generation: −log P of each of the answer's tokens, and of nothing else.

The language-model head sees the answers' places alone, and some of them at a time: logits of a whole batch, (tokens,
vocabulary), would be larger than all the rest of a step. Where the head learns or what is below it, its part of the backward
pass is done at once, as in the fused losses of Liger kernel (Hsu et al., 2024):

    L = Σ_i −log softmax(W h_i)[y_i],   ∂L/∂h_i = Wᵀ (p_i − e_{y_i}),   ∂L/∂W = Σ_i (p_i − e_{y_i}) h_iᵀ
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from proxtune.data.batching import collate
from proxtune.data.dataset import Encoded, Objective
from proxtune.models.introspection import LET_GO, without_adapters
from proxtune.models.word_classifier import first_answer_token
from proxtune.tasks.generation.row_independence import batches, pads

_CHUNK_NUMBERS = 2_000_000  # logits at a time
_SLICE_TOKENS = 16_384  # of the vocabulary at a time: of a streamed head no more is in memory
HEAD_BYTES = 10 * _CHUNK_NUMBERS  # what they take: logits, their slope, and the slope once more in bfloat16
_TOLERANCE = 0.02  # of the largest logit: bfloat16 has 8 bits


def outputs(model: Any, data: Encoded, rows: np.ndarray, pad_id: int) -> Tensor:
    """For each row −log P of its answer and the tokens of that, (rows, 2) float32."""
    said = _at_answers(model, data, rows, pad_id)
    found = torch.zeros(len(rows), 2, device=said.targets.device)
    for piece in _chunks(len(said.targets), said.vocabulary):
        logits = said.logits(piece)
        lost = torch.logsumexp(logits, -1) - logits.gather(1, said.targets[piece, None]).squeeze(1)
        found[:, 0].index_add_(0, said.owner[piece], lost)
    found[:, 1].index_add_(0, said.owner, torch.ones_like(said.owner, dtype=torch.float32))
    return found


def loss(
    model: Any, data: Encoded, rows: np.ndarray, pad_id: int, whole: np.ndarray, teacher: np.ndarray | None = None
) -> Tensor:
    """Σ over the answers' tokens in `rows` of −log P, divided by those of the `whole` batch."""
    assert teacher is None, "answers are not taught"
    said = _at_answers(model, data, rows, pad_id)
    tokens = int(data.answer_lengths[whole].sum())
    if said.head is None:
        assert said.own is not None, "there are logits"
        return torch.nn.functional.cross_entropy(said.own.float(), said.targets, reduction="sum") / tokens
    return _HeadLoss.apply(said.hidden, said.head.weight, said.head.bias, said.targets, said.head) / tokens


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
        self._let_go: Callable[[int, int], None] = getattr(layer, LET_GO, lambda begin, end: None)

    def raw(self, hidden: Tensor) -> Tensor:
        """W h + b, (n, vocabulary) float32."""
        bias = None if self.bias is None else self.bias.to(self.dtype)
        hidden, made = hidden.to(self.dtype), hidden.new_empty(len(hidden), self.vocabulary, dtype=torch.float32)
        with torch.autocast(hidden.device.type, enabled=False):
            for begin, end in self._slices():
                own = None if bias is None else bias[begin:end]
                made[:, begin:end] = torch.nn.functional.linear(hidden, self.cast[begin:end], own)
                self._let_go(begin, end)
        return made

    def of_hidden(self, of_raw: Tensor) -> Tensor:
        """The gradient of hidden states (n, width) from that of `raw`, float32."""
        total = torch.zeros(len(of_raw), self.cast.shape[1], device=of_raw.device)
        for begin, end in self._slices():
            total += of_raw[:, begin:end] @ self.cast[begin:end]
            self._let_go(begin, end)
        return total

    def _slices(self) -> Iterator[tuple[int, int]]:
        for begin in range(0, self.vocabulary, _SLICE_TOKENS):
            yield begin, min(begin + _SLICE_TOKENS, self.vocabulary)

    def logits(self, hidden: Tensor) -> Tensor:
        """What the model makes of hidden states (n, width): (n, vocabulary) float32."""
        raw = self.raw(hidden).mul_(self.scale)
        return raw if self.cap is None else raw.div_(self.cap).tanh_().mul_(self.cap)

    def slope(self, logits: Tensor, of_logits: Tensor) -> Tensor:
        """The gradient of `raw` from that of the logits, in place."""
        if self.cap is not None:
            of_logits.mul_(1 - (logits / self.cap).square())
        return of_logits.mul_(self.scale)

    def agrees(self, hidden: Tensor, theirs: Tensor) -> bool:
        """Whether the model itself makes the same of a hidden state."""
        ours, theirs = self.logits(hidden), theirs.float().reshape(1, -1)
        if theirs.shape != ours.shape:
            return False
        if not bool(ours.isfinite().all()):  # of damaged weights, or a training that ran away: no other way helps
            return True
        return torch.allclose(ours, theirs, rtol=_TOLERANCE, atol=_TOLERANCE * float(ours.abs().max() + 1))


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
                of_hidden[piece] = head.of_hidden(slope).to(hidden.dtype)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a model says where the answers' tokens are to be said.

    The `targets` (n,), the row of each (n,) as its `owner`; and hidden states (n, width) under a known `head`, or the model's
    `own` logits (n, vocabulary).
    """

    targets: Tensor
    owner: Tensor
    hidden: Tensor | None = None
    head: _Head | None = None
    own: Tensor | None = None

    @property
    def vocabulary(self) -> int:
        if self.own is not None:
            return int(self.own.shape[-1])
        assert self.head is not None, "logits are the model's own or its head's"
        return self.head.vocabulary

    def logits(self, piece: slice) -> Tensor:
        """Those of some places, (places, vocabulary) float32."""
        if self.own is not None:
            return self.own[piece].float()
        assert self.head is not None
        assert self.hidden is not None
        return self.head.logits(self.hidden[piece])


def _at_answers(model: Any, data: Encoded, rows: np.ndarray, pad_id: int) -> _Said:
    """What the model says at the answers' tokens of `rows`, in the way that takes the least memory with this model.

    A head that is a matrix, with what is known of its logits, is computed here in pieces. One that does more, and is told so by
    the model's own logits of one place, is left to the model, at those places; and where those cannot be chosen before, all.
    """
    device = next(model.parameters()).device
    inputs, targets, owner, index = _inputs(model, data, rows, pad_id)
    plain = without_adapters(model)
    layer = plain.get_output_embeddings()
    way = _WAYS.get(plain, "whole" if getattr(layer, "weight", None) is None else "head")
    is_streamed = hasattr(layer, LET_GO)
    if way == "whole":
        logits = model(**inputs).logits
        return _Said(targets=targets, owner=owner, own=logits.flatten(0, -2).index_select(0, index))
    seen: list[Tensor] = []

    def select(layer: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if (
            given[0].shape[:-1].numel()
            != inputs["decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"].numel()
        ):
            return given
        seen.append(given[0].flatten(0, -2).index_select(0, index))  # (n, width): contiguous and two-dimensional
        shown = len(index) if way == "own" else 0 if is_streamed and plain in _WAYS else 1
        return (seen[-1][:shown][None], *given[1:])

    hook = layer.register_forward_pre_hook(select)
    try:
        made = model(**inputs).logits
    finally:
        hook.remove()
    if len(seen) != 1:
        return _in_another_way(plain, "whole", model, data, rows, pad_id)
    if way == "own":
        return _Said(targets=targets, owner=owner, own=made.flatten(0, -2))
    autocast = torch.is_autocast_enabled(device.type)
    head = _Head(plain, torch.get_autocast_dtype(device.type) if autocast else layer.weight.dtype)
    if plain not in _WAYS:
        with torch.no_grad():
            agrees = head.agrees(seen[0][:1], made)
        if not agrees:
            return _in_another_way(plain, "own", model, data, rows, pad_id)
        _WAYS[plain] = "head"
    return _Said(targets=targets, owner=owner, hidden=seen[0], head=head)


_WAYS: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # by model: "head", "own" or "whole"


def _in_another_way(plain: Any, way: str, model: Any, data: Encoded, rows: np.ndarray, pad_id: int) -> _Said:
    _WAYS[plain] = way
    return _at_answers(model, data, rows, pad_id)


def _inputs(model: Any, data: Encoded, rows: np.ndarray, pad_id: int) -> tuple[dict[str, Any], Tensor, Tensor, Tensor]:
    """What the model is given; the answers' tokens (n,), the row of each (n,) and their places in what it says (n,)."""
    device = next(model.parameters()).device
    ids, mask = (part.to(device) for part in collate(data, rows, pad_id))
    assert data.begins is not None, "rows have answers"
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    taken = inspect.signature(without_adapters(model).forward).parameters
    if "use_cache" in taken:
        inputs["use_cache"] = False
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
        first = torch.full((len(rows), 1), first_answer_token(without_adapters(model)))
        inputs["decoder_input_ids"] = torch.cat([first, wanted[:, :-1]], 1).to(device)
    owner = torch.from_numpy(np.repeat(np.arange(len(rows)), [len(span) for span in spans])).to(device)
    return inputs, targets, owner, torch.from_numpy(places).to(device)


def _chunks(count: int, vocabulary: int) -> list[slice]:
    each = max(1, _CHUNK_NUMBERS // vocabulary)
    return [slice(begin, begin + each) for begin in range(0, count, each)]


ANSWERS = Objective(
    outputs=outputs,
    loss=loss,
    score=score,
    rank=rank,
    pads=pads,
    batches=batches,
    long_rows=True,
    reads_vocabulary=True,
)
