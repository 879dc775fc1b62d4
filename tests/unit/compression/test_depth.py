"""Fewer blocks: the smaller model computes what the larger one does when it passes over the others."""

from itertools import pairwise

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from proxtune.compression.depth import blocks_prefix, config_with_blocks, kept_names, spread
from proxtune.models.introspection import blocks_of

COMMON = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
MODELS = {
    "bert": COMMON,
    "roberta": COMMON,
    "distilbert": {"vocab_size": 60, "dim": 16, "n_layers": 4, "n_heads": 2, "hidden_dim": 32},
    "gpt2": {"vocab_size": 60, "n_embd": 16, "n_layer": 4, "n_head": 2},
    "llama": {**COMMON, "num_key_value_heads": 1},
    "qwen3": {
        **COMMON, "num_key_value_heads": 1, "head_dim": 8, "use_sliding_window": True, "sliding_window": 3,
        "max_window_layers": 1,
    },
    "modernbert": {**COMMON, "global_attn_every_n_layers": 3, "local_attention": 4},
}  # fmt: skip


def model_of(kind):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **MODELS[kind], pad_token_id=0, bos_token_id=1, eos_token_id=2, num_labels=3)
    config._attn_implementation, config.use_cache = "eager", False
    return AutoModelForSequenceClassification.from_config(config).eval()


def passed_over(block):
    """The block hands on what it was given."""
    compute = block.forward

    def forward(hidden, *rest, **more):
        answer = compute(hidden, *rest, **more)
        return (hidden, *answer[1:]) if isinstance(answer, tuple) else hidden

    block.forward = forward


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("keep", [[0, 3], [0], [1, 2], [0, 1, 2, 3]])
def test_a_model_of_fewer_blocks_passes_over_the_others(kind, keep):
    model = model_of(kind)
    weights = model.state_dict()
    prefix = blocks_prefix(weights, 4)
    assert prefix == blocks_of(model)[0]
    renamed = kept_names(weights, prefix, keep)
    if kind == "modernbert" and keep[0] != 0:  # its first block lacks a norm
        assert renamed is None
        return
    config = config_with_blocks(model.config, keep)
    smaller = type(model)(config).eval()
    assert len(blocks_of(smaller)[1]) == len(keep)
    smaller.load_state_dict({new: weights[old] for old, new in renamed.items()})
    for number, block in enumerate(blocks_of(model)[1]):
        if number not in keep:
            passed_over(block)
    ids = torch.randint(3, 60, (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(smaller(ids).logits, model(ids).logits)
    assert model.config.num_hidden_layers == 4


def test_the_config_is_saved_and_loaded_again(tmp_path):
    from transformers import AutoConfig

    config = config_with_blocks(model_of("qwen3").config, [0, 2, 3])
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.num_hidden_layers == 3
    assert loaded.layer_types == config.layer_types
    assert len(loaded.layer_types) == 3
    assert set(loaded.layer_types) == {"full_attention", "sliding_attention"}


def test_blocks_that_are_listed_by_number_are_renumbered():
    from transformers import Qwen3MoeConfig

    config = Qwen3MoeConfig(num_hidden_layers=6, mlp_only_layers=[1, 2, 5])
    assert config_with_blocks(config, [0, 2, 5]).mlp_only_layers == [1, 2]


def test_blocks_that_share_their_weights_stay():
    from transformers import AlbertConfig, AlbertForSequenceClassification

    config = AlbertConfig(**COMMON, embedding_size=8)
    assert blocks_prefix(AlbertForSequenceClassification(config).state_dict(), 4) is None


def test_an_encoder_with_a_decoder_stays():
    names = [f"{half}.layers.{number}.weight" for half in ("encoder", "decoder") for number in range(2)]
    assert blocks_prefix(names, 2) is None
    assert blocks_prefix(names[:2], 2) == "encoder.layers"


@given(st.integers(1, 40), st.data())
def test_blocks_are_spread(blocks, data):
    kept = data.draw(st.integers(1, blocks))
    places = spread(blocks, kept)
    assert places == sorted(set(places))
    assert len(places) == kept
    assert places[0] == 0
    if kept > 1:
        assert places[-1] == blocks - 1
        apart = [later - one for one, later in pairwise(places)]
        assert max(apart) - min(apart) <= 1
