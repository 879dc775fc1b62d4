"""Traces: what is alive in a step, and how it grows with the rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    OlmoeConfig,
)

from proxtune.data.dataset import Encoded, rows_like
from proxtune.models.introspection import blocks_are_alike, blocks_of
from proxtune.planning.tracer import _attention_formulas, _slopes_flops, attention_flops, trace_model, trace_step
from proxtune.tasks.classification.objective import LABELS
from proxtune.tasks.generation.objective import ANSWERS


def test_fused_attention_counts_as_torch_counts_it_and_heads_in_groups_too():
    whole = (2, 4, 8, 16)
    assert attention_flops(whole, whole, whole) == sdpa_flop_count(whole, whole, whole)
    query, key = torch.empty(whole, device="meta"), torch.empty(2, 2, 8, 16, device="meta")  # two heads share a key
    with FlopCounterMode(display=False, custom_mapping=_attention_formulas()) as flops:
        torch.ops.aten._scaled_dot_product_flash_attention(query, key, key)
    assert flops.get_total_flops() == attention_flops(whole, whole, whole)
    assert _slopes_flops(whole, whole, whole, whole) == sdpa_backward_flop_count(whole, whole, whole, whole)


def test_live_bytes_are_those_of_a_count_by_hand():
    import torch

    from proxtune.planning.tracer import LiveBytes

    model = torch.nn.Linear(10, 10, bias=False)
    with LiveBytes(model) as watch:
        first = torch.zeros(1000)  # 4,000 bytes
        assert (watch.live, watch.peak) == (4000, 4000)
        second = first + 1  # 4,000 more
        assert (watch.live, watch.peak) == (8000, 8000)
        _ = first.view(10, 100), first[:3], model.weight.t()  # views, and the model's own, are nothing new
        first.add_(1)  # in place
        assert watch.live == 8000
        del second
        assert (watch.live, watch.peak) == (4000, 8000)
        _, _ = torch.zeros(6).max(0)  # 24 bytes, with two results of 4 and 8
        assert watch.peak == 8000
    assert watch.live >= 4000


def test_a_traced_step_grows_in_proportion_to_its_rows(tiny_model):
    from proxtune.models.loading import classifier_config, load_classifier
    from proxtune.models.tokenizer.loading import load_tokenizer

    config = classifier_config(tiny_model, ["a", "b"], load_tokenizer(tiny_model), 32)
    model = load_classifier(tiny_model, config, 0).train()
    some = Encoded(
        ids=np.ones(8, np.int32), starts=np.array([0, 8]), labels=np.array([0]), truncated=0, objective=LABELS
    )
    one, three, five = (trace_step(model, rows_like(some, rows, 32), "fp32", True) for rows in (1, 3, 5))
    assert five.live_bytes - three.live_bytes == pytest.approx(three.live_bytes - one.live_bytes, rel=0.02)
    assert three.flops == pytest.approx(3 * one.flops)
    assert 2 < one.flops / one.forward_flops <= 3
    assert all(p.grad is None for p in model.parameters()), "a trace leaves no gradients"
    forward = trace_step(model, rows_like(some, 3, 32), "fp32", False)
    assert forward.live_bytes < three.live_bytes
    assert forward.flops == forward.forward_flops == pytest.approx(three.forward_flops)


_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "vocab_size": 200, "pad_token_id": 0}
_HALVES = {
    f"{half}_{name}": value
    for half in ("encoder", "decoder")
    for name, value in {"layers": 8, "attention_heads": 4, "ffn_dim": 64}.items()
}
_FAMILIES = {
    "llama": (LlamaConfig(**_SIZES, num_hidden_layers=8), AutoModelForCausalLM),
    "gpt2": (GPT2Config(n_embd=32, n_head=4, n_layer=8, vocab_size=200, bos_token_id=1, eos_token_id=1), AutoModelForCausalLM),
    "bert": (BertConfig(**_SIZES, num_hidden_layers=8), AutoModelForSequenceClassification),
    "olmoe": (OlmoeConfig(**_SIZES, num_hidden_layers=8, num_experts=4, num_experts_per_tok=2), AutoModelForCausalLM),
    "mamba": (MambaConfig(hidden_size=32, num_hidden_layers=8, vocab_size=200), AutoModelForCausalLM),
    "bart": (BartConfig(**_HALVES, d_model=32, vocab_size=200, pad_token_id=0), AutoModelForSeq2SeqLM),
    "mixed": (Gemma3TextConfig(**_SIZES, num_hidden_layers=8, head_dim=8, sliding_window=4), AutoModelForCausalLM),
}  # fmt: skip


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("family", _FAMILIES)
def test_a_model_is_traced_by_a_few_of_its_blocks(family, train):
    config, auto = _FAMILIES[family]
    torch.manual_seed(0)
    model = auto.from_config(config).train(train)
    objective = LABELS if family == "bert" else ANSWERS
    rows = Encoded(
        ids=np.arange(20, 60, dtype=np.int32) % 199 + 1, starts=np.array([0, 40]), labels=np.array([0]), truncated=0,
        objective=objective, begins=None if family == "bert" else np.array([20]),
    )  # fmt: skip
    if family == "bart":
        rows = replace(rows, begins=np.array([0]), answers=replace(rows, begins=None, labels=rows.labels[:0]))
    trace_step(model, rows, "fp32", train)  # the first pass of all finds out how the head is had
    for some in (rows_like(rows, 1, 40), rows_like(rows, 3, 40)):
        whole, found = (trace(model, some, "fp32", train) for trace in (trace_step, trace_model))
        assert found.live_bytes == pytest.approx(whole.live_bytes, rel=0.03)
        assert found.flops == pytest.approx(whole.flops, rel=1e-6)
        assert found.forward_flops == pytest.approx(whole.forward_flops, rel=1e-6)
    assert len(blocks_of(model)[1]) == 8, "all of them are back"
    assert blocks_are_alike(model) == (family != "mixed")


def test_a_model_that_cannot_do_without_some_blocks_is_traced_as_a_whole():
    config, auto = _FAMILIES["llama"]
    model = auto.from_config(config)
    model.model.forward = lambda *given, own=model.model.forward, **more: (model.model.layers[7], own(*given, **more))[
        1
    ]
    rows = Encoded(
        ids=np.arange(1, 41, dtype=np.int32), starts=np.array([0, 40]), labels=np.array([0]), truncated=0, objective=ANSWERS,
        begins=np.array([20]),
    )  # fmt: skip
    trace_step(model, rows, "fp32", True)
    assert trace_model(model, rows, "fp32", True) == trace_step(model, rows, "fp32", True)
