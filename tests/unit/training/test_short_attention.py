"""Attention of short rows against transformers' own: what is said, and every gradient."""

import pytest
import torch
from transformers import AutoModelForCausalLM, BertConfig, BertForSequenceClassification, LlamaConfig

from proxtune.training import short_attention as module
from proxtune.training.short_attention import ShortAttention, attending_to_short_rows

SIZES = {"vocab_size": 90, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}


def slow(query, key, value, mask, scale):
    """softmax(s q kᵀ) v, head by head."""
    share = query.shape[1] // key.shape[1]
    heads = []
    for head in range(query.shape[1]):
        scores = query[:, head] @ key[:, head // share].transpose(-1, -2) * scale
        scores = scores if mask is None else scores.masked_fill(~mask[:, 0], -1e30)
        heads.append(scores.softmax(-1) @ value[:, head // share])
    return torch.stack(heads, 1)


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (6, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_plain_attention_and_so_are_its_gradients(heads, masked):
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(3, count, 11, 8, dtype=torch.float64, requires_grad=True) for count in (*heads, heads[1])
    )
    mask = (torch.rand(3, 1, 11, 11) > 0.4) | torch.eye(11, dtype=torch.bool) if masked else None
    slope = torch.randn(3, heads[0], 11, 8, dtype=torch.float64)
    found = []
    for attention in (ShortAttention.apply, slow):
        said = attention(query, key, value, mask, 0.3)
        found.append([said, *torch.autograd.grad(said, (query, key, value), slope)])
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)  # its softmax is in float32


@pytest.mark.parametrize("usual", ["eager", "sdpa"])
@pytest.mark.parametrize("padding", [0, 5])
def test_a_decoder_in_bf16_learns_the_same_and_attends_as_before_afterwards(usual, padding, monkeypatch):
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES, num_key_value_heads=2, attn_implementation=usual)
    model = AutoModelForCausalLM.from_config(config).bfloat16()
    ids, mask = torch.arange(40).reshape(2, 20) + 3, torch.ones(2, 20, dtype=torch.long)
    mask[1, :padding] = 0
    labels = ids.clone()
    labels[1, : padding + 1] = -100  # what padding says comes next is nothing to learn
    used, own = [], ShortAttention.apply
    monkeypatch.setattr(ShortAttention, "apply", lambda *given: used.append(1) or own(*given))
    gradients = []
    for ours in (False, True):
        model.zero_grad()
        with attending_to_short_rows(model, "bf16") if ours else torch.enable_grad():
            model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        gradients.append(torch.cat([p.grad.float().flatten() for p in model.parameters()]))
    assert len(used) == 2, "once in each block"
    assert model.config._attn_implementation == usual
    off = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    assert off < 0.03, "eight bits, rounded elsewhere"


@pytest.mark.parametrize("usual", ["eager", "sdpa"])
@pytest.mark.parametrize(("dtype", "tokens"), [("fp32", 20), ("bf16", 130)])
def test_long_rows_and_other_dtypes_are_as_they_were(usual, dtype, tokens, monkeypatch):
    monkeypatch.setitem(module._LONGEST, "eager", 128)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES, attn_implementation=usual))
    model = model.bfloat16() if dtype == "bf16" else model
    monkeypatch.setattr(ShortAttention, "apply", lambda *given: pytest.fail("it is no faster"))
    ids = torch.arange(tokens)[None] % 80
    plain = model(input_ids=ids).logits
    with attending_to_short_rows(model, dtype):
        found = model(input_ids=ids).logits
    off = (found - plain).abs().max()
    assert off == 0 if dtype == "fp32" or usual == "sdpa" else off < 0.05, "in bf16 the fused kernel rounds otherwise"


def test_a_model_that_attends_in_its_own_way_is_left_alone(monkeypatch):
    model = BertForSequenceClassification(BertConfig(**SIZES)).bfloat16()
    monkeypatch.setattr(module, "has_usual_attention", lambda plain: False)
    with attending_to_short_rows(model, "bf16"):
        assert model.config._attn_implementation in ("eager", "sdpa")
