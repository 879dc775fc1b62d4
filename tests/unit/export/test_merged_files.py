"""Adapters merged in a copy of the files: what peft merges in memory, to the bit."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from proxtune.export.merged_files import copy_weights, write_merged
from proxtune.memory.lean_imports import import_peft
from proxtune.memory.mapped_files import can_let_go

pytestmark = [
    pytest.mark.skipif(not can_let_go(), reason="the system does not say what is mapped"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`", "ignore:fan_in_fan_out"),  # peft's own
]
LLAMA = LlamaConfig(vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4)
GPT2 = GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4)  # its linear layers lie the other way round


@pytest.fixture(params=["llama", "shards", "gpt2"])
def folder(request, tmp_path):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2) if request.param == "gpt2" else LlamaForCausalLM(LLAMA)
    model.save_pretrained(tmp_path / "model", max_shard_size="100KB" if request.param == "shards" else "1GB")
    return tmp_path / "model"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_files_hold_what_merging_in_memory_holds(tmp_path, folder, dtype):
    if dtype == torch.bfloat16:
        AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).save_pretrained(tmp_path / "half")
        folder = tmp_path / "half"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).requires_grad_(False)
    adapters = import_peft().LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = import_peft().get_peft_model(model, adapters)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if ".lora_B" in name:
                weight.normal_(std=0.1)
    target = tmp_path / "merged"
    target.mkdir()
    write_merged(adapted, folder, target)
    config = adapted.config
    merged = {name: weight.clone() for name, weight in adapted.merge_and_unload().state_dict().items()}
    config.save_pretrained(target)
    read = AutoModelForCausalLM.from_pretrained(target, dtype=dtype).state_dict()
    assert read.keys() == merged.keys()
    assert all(torch.equal(read[name], merged[name]) for name in merged)
    assert sorted(file.name for file in target.glob("*.safetensors")) == sorted(
        file.name for file in folder.glob("*.safetensors")
    )


def test_weights_are_copied_with_their_index(tmp_path, folder):
    target = tmp_path / "copy"
    target.mkdir()
    copy_weights(folder, target)
    for file in folder.glob("*.safetensors*"):
        assert (target / file.name).read_bytes() == file.read_bytes()
