"""Traces: what is alive in a step, and how it grows with the rows."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from proxtune.planning.tracer import _attention_formulas, _slopes_flops, attention_flops
from proxtune.tasks.classification.objective import LABELS


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
    from proxtune.data.dataset import Encoded, rows_like
    from proxtune.models.loading import classifier_config, load_classifier
    from proxtune.models.tokenizer.loading import load_tokenizer
    from proxtune.planning.tracer import trace_step

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
