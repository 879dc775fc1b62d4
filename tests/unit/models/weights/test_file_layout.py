"""Experts are one tensor in a model and one each in its files: writing them takes copies, which plans must count."""

import torch

from proxtune.models.weights.file_layout import layout_copies_bytes


def olmoe():
    from transformers import OlmoeConfig, OlmoeForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_experts": 4, "num_experts_per_tok": 2}
    return OlmoeForCausalLM(OlmoeConfig(**sizes, **heads, pad_token_id=0, eos_token_id=1))


def test_fused_projections_of_experts_are_copied_when_they_are_taken_apart():
    model = olmoe()
    fused = [weight for name, weight in model.named_parameters() if name.endswith("gate_up_proj")]
    assert len(fused) == 2
    taken = sum(weight.nbytes for weight in fused)
    assert layout_copies_bytes(model) == taken
    assert layout_copies_bytes(model.to(torch.bfloat16)) == taken // 2


def test_the_weights_stay_as_they_are():
    model = olmoe()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    layout_copies_bytes(model)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_model_of_the_layout_of_its_files_takes_no_copies(tiny_model):
    from transformers import AutoModelForSequenceClassification

    assert layout_copies_bytes(AutoModelForSequenceClassification.from_pretrained(tiny_model)) == 0
