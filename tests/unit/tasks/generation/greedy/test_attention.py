"""Attention that groups heads is the usual one; where a model's is not, that is seen."""

from types import SimpleNamespace

import pytest
import torch
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.llama import modeling_llama

from proxtune.tasks.generation.greedy import attention
from proxtune.tasks.generation.greedy.attention import grouped_attention


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("heads", [(6, 2), (4, 4), (3, 1)])
def test_it_says_what_repeated_keys_say(tokens, masked, heads):
    torch.manual_seed(0)
    own, shared = heads
    query = torch.randn(5, own, tokens, 8)
    key, value = torch.randn(5, shared, 12, 8)[:, :, :9], torch.randn(5, shared, 12, 10)[:, :, :9]
    module = SimpleNamespace(num_key_value_groups=own // shared, training=False, is_causal=False)
    seen = torch.rand(5, 1, tokens, 9) < 0.7
    seen[..., 0] = True
    mask = seen if masked else None
    added = torch.where(seen, 0.0, torch.finfo(torch.float32).min) if masked else None
    known, _ = attention._usual_attention(module, query, key, value, added, 0.3)
    said, _ = grouped_attention(module, query, key, value, mask, scaling=0.3, is_causal=False)
    assert said.shape == known.shape == (5, tokens, own, 10)
    torch.testing.assert_close(said, known, rtol=1e-5, atol=1e-6)


def test_the_usual_way_is_known_by_its_code():
    usual = attention._code(attention._usual_attention)
    assert attention._code(modeling_llama.eager_attention_forward) == usual
    assert attention._code(modeling_gemma2.eager_attention_forward) != usual
