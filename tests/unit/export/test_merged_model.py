"""The plain model at the end of a run: merged in memory, or by way of files where its weights are streamed."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

from proxtune.export.merged_model import base_model, merged_model
from proxtune.memory.mapped_files import can_let_go
from proxtune.runtime.model_setup import prepared
from support.profiles import PLAN

LORA = replace(PLAN, method="lora", rank=4)


@pytest.fixture
def session(tmp_path, paged_chat):
    """As much of a session as loading and merging ask for."""

    def load_model(folder, data, seed, dtype):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    return SimpleNamespace(
        task=SimpleNamespace(load_model=load_model), traits=SimpleNamespace(long_rows=True), folder=tmp_path,
        source=SimpleNamespace(folder=paged_chat), data=None, recipe=SimpleNamespace(seed=0),
        device=SimpleNamespace(torch_device=torch.device("cpu")), meter=SimpleNamespace(trim=lambda: None),
    )  # fmt: skip


def learned(plan, session):
    model = prepared(plan, session)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_" in name:
                weight.normal_(std=0.1)
    return model


@pytest.mark.skipif(not can_let_go(), reason="the system does not say what is mapped")
def test_by_way_of_files_it_is_the_model_that_is_merged_in_memory(session):
    plain, nowhere = merged_model(learned(LORA, session), LORA, session)
    assert nowhere is None
    streamed = replace(LORA, streamed=True)
    spent = learned(streamed, session)
    ours, folder = merged_model(spent, streamed, session)
    assert {file.name for file in folder.iterdir()} >= {"model.safetensors", "config.json"}
    theirs = plain.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.state_dict().items())
    assert sum(weight.numel() for weight in spent.parameters()) == 0, "its memory is needed"


@pytest.mark.skipif(not can_let_go(), reason="the system does not say what is mapped")
def test_the_base_model_is_a_copy_of_its_files(session, paged_chat):
    _, folder = base_model(torch.nn.Linear(2, 2), replace(LORA, streamed=True), session)
    copied = (folder / "model.safetensors").read_bytes()
    assert copied == (paged_chat / "model.safetensors").read_bytes()
    model, nowhere = base_model(torch.nn.Linear(2, 2), LORA, session)
    assert nowhere is None
    assert model.num_parameters() > 0
