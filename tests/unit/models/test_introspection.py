"""Inside a model: its head, its blocks and the layers that adapters go on, told by their role."""

import pytest

from proxtune.models.introspection import (
    adapter_targets,
    block_lists,
    blocks_of,
    head_modules,
    head_of,
    model_facts,
    width_of,
)
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.tokenizer.loading import load_tokenizer

BERT = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
LLAMA = BERT | {"num_key_value_heads": 1, "max_position_embeddings": 32, "pad_token_id": 0}


def classifier(model_type: str, labels: int = 3, **sizes):
    """A random classifier of that type."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(model_type, num_labels=labels, **sizes))


def language_model(model_type: str, **sizes):
    from transformers import AutoConfig, AutoModelForCausalLM

    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **sizes))


def test_head_and_blocks_are_found(tiny_model, tiny_decoder):
    for folder, head, blocks, count in (
        (tiny_model, "classifier", "bert.encoder.layer", 3),
        (tiny_decoder, "score", "model.layers", 2),
    ):
        model = load_classifier(folder, classifier_config(folder, ["a", "b", "c"], load_tokenizer(folder), 16), 0)
        assert head_of(model)[0] == head
        assert head_of(model)[1].out_features == 3
        name, found = blocks_of(model)
        assert (name, len(found)) == (blocks, count)


@pytest.mark.parametrize("classes", [2, 32, 128])
def test_the_head_is_the_last_layer_even_when_others_are_as_wide(tiny_folder, classes):
    labels = [f"label {i}" for i in range(classes)]
    model = load_classifier(tiny_folder, classifier_config(tiny_folder, labels, load_tokenizer(tiny_folder), 16), 0)
    assert head_of(model)[0] in ("classifier", "score")


@pytest.mark.parametrize("labels", [3, 16])
@pytest.mark.parametrize(
    ("model_type", "sizes", "heads", "last"),
    [
        ("roberta", BERT, ["classifier"], "classifier.out_proj"),
        (
            "distilbert",
            {"vocab_size": 60, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
            ["pre_classifier", "classifier"],
            "classifier",
        ),
        (
            "xlnet",
            {"vocab_size": 60, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24},
            ["sequence_summary", "logits_proj"],
            "logits_proj",
        ),
        (
            "t5",
            {
                "vocab_size": 60,
                "d_model": 16,
                "d_kv": 8,
                "d_ff": 24,
                "num_layers": 2,
                "num_heads": 2,
                "eos_token_id": 1,
            },
            ["classification_head"],
            "classification_head.out_proj",
        ),
    ],
)
def test_a_head_of_several_layers_is_all_that_the_body_does_not_have(model_type, sizes, heads, last, labels):
    model = classifier(model_type, labels, **sizes)
    assert [name for name, _ in head_modules(model)] == heads
    assert head_of(model)[0] == last
    targets = adapter_targets(model)
    assert targets
    assert not [name for name in targets if name.split(".")[0] in heads]
    facts = model_facts(model)
    assert facts.head_parameters == sum(p.numel() for name in heads for p in model.get_submodule(name).parameters())
    assert (facts.width, facts.blocks) == (16, 2)


def test_layers_of_several_kinds_are_blocks_and_experts_are_not():
    sizes = LLAMA | {
        "num_experts": 8,
        "mamba_d_state": 4,
        "num_hidden_layers": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
    }
    model = classifier("jamba", **sizes)
    assert len({type(block) for block in blocks_of(model)[1]}) == 2
    assert blocks_of(model)[0] == "model.layers"
    assert len(blocks_of(model)[1]) == 4


def test_a_body_without_a_list_is_one_block():
    import torch

    model = classifier("bert", **BERT)
    model.bert.encoder = torch.nn.Linear(16, 16)
    assert [type(block) for block in blocks_of(model)[1]] == [type(model.bert)]


def test_an_encoder_decoder_has_two_lists(tiny_t5):
    from transformers import AutoModelForSeq2SeqLM

    assert [len(each) for each in block_lists(AutoModelForSeq2SeqLM.from_pretrained(tiny_t5))] == [2, 2]


def test_experts_and_routers_get_no_adapters_and_are_counted():
    model = language_model(
        "qwen2_moe",
        **LLAMA,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=8,
        shared_expert_intermediate_size=8,
    )
    targets = adapter_targets(model)
    assert {name.rpartition(".")[2] for name in targets} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    experts = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
    assert experts > 0
    assert model_facts(model).block_parameters > experts


def test_projections_that_a_kernel_reads_by_itself_get_no_adapters():
    model = language_model("mamba", vocab_size=60, hidden_size=16, num_hidden_layers=2, state_size=4)
    names = {name.rpartition(".")[2] for name in adapter_targets(model)}
    assert names == {"in_proj", "x_proj"}


def test_a_linear_layer_that_computes_something_else_gets_no_adapter():
    from transformers.models.deepseek_v4.modeling_deepseek_v4 import DeepseekV4GroupedLinear

    model = language_model("llama", **LLAMA)
    layer = model.model.layers[0].self_attn
    layer.o_proj = DeepseekV4GroupedLinear(8, 16, n_groups=2)
    names = adapter_targets(model)
    assert "model.layers.0.self_attn.o_proj" not in names
    assert "model.layers.1.self_attn.o_proj" in names


def test_a_layer_that_is_stored_the_other_way_round_gets_one():
    model = language_model("gpt2", vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    assert {name.rpartition(".")[2] for name in adapter_targets(model)} == {"c_attn", "c_proj", "c_fc"}
    assert model_facts(model).rank_parameters == 2 * ((16 + 48) + (16 + 16) + (16 + 64) + (64 + 16))


@pytest.mark.parametrize(
    ("model_type", "name"),
    [("bert", "hidden_size"), ("t5", "d_model"), ("distilbert", "dim"), ("gpt2", "n_embd"), ("xlm", "emb_dim")],
)
def test_the_width_has_many_names(model_type, name):
    from transformers import AutoConfig

    assert width_of(AutoConfig.for_model(model_type, **{name: 48})) == 48
