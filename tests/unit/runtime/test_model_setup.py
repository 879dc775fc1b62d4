"""The model of a session: loaded as the plan says, prepared by its method, and held to a size where one is asked for."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from proxtune.compression.architecture import Structure
from proxtune.compression.size_constraint import NoSizeConstraint, SizeConstraint
from proxtune.memory.kernel_cache import FEW, SOME, USUAL
from proxtune.memory.mapped_files import can_let_go
from proxtune.runtime import model_setup
from proxtune.runtime.model_setup import constraint_of, loaded, prepared, stream_loaded
from support.methods import a_classifier
from support.profiles import PLAN

NEIGHBOURS = replace(PLAN, method="nno", neighbours=4, last_layers=1, optimizer="none")
SIZES = {
    "vocab_size": 600, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4,
}  # fmt: skip
STRUCTURE = Structure(size_bytes=58_000, bits=4, group=32, vocabulary=1000, blocks=3)


@pytest.fixture
def told(monkeypatch):
    """What the process was told: the allocator, and how many kernels to keep."""
    found = []
    monkeypatch.setattr(model_setup, "set_allocator", found.append)
    monkeypatch.setattr(model_setup, "limit_kernel_cache", found.append)
    return found


def session_of(folder, out=None, long_rows=False, structure=None, seed=3):
    """As much of a session as the set-up asks for; the task notes how it was asked to load."""
    asked = []

    def load_model(model_folder, data, seed, dtype):
        asked.append((model_folder, data, seed, dtype))
        return a_classifier(folder)

    return SimpleNamespace(
        task=SimpleNamespace(load_model=load_model), traits=SimpleNamespace(long_rows=long_rows),
        source=SimpleNamespace(folder=folder), data="the data", recipe=SimpleNamespace(seed=seed), asked=asked, folder=out,
        device=SimpleNamespace(torch_device=torch.device("cpu")), structure=structure,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("plan", "long_rows", "kernels", "dtype"),
    [
        (PLAN, False, USUAL, "fp32"),
        (replace(PLAN, allocator="tight", dtype="bf16"), True, SOME, "fp32"),
        (replace(PLAN, dtype="bf16", base_dtype="int8"), True, SOME, "bf16"),
        (replace(NEIGHBOURS, dtype="bf16"), True, FEW, "bf16"),
    ],
)
def test_it_is_loaded_in_the_plans_dtype_with_its_allocator_and_kernels(
    tiny_model, told, plan, long_rows, kernels, dtype
):
    session = session_of(tiny_model, long_rows=long_rows)
    loaded(plan, session)
    assert told == [plan.allocator, kernels]
    assert session.asked == [(tiny_model, "the data", 3, dtype)]


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_plans_method_and_knobs_are_applied(tiny_folder, checkpointing):
    plan = replace(PLAN, method="layers", last_layers=1, checkpointing=checkpointing)
    model = prepared(plan, session_of(tiny_folder))
    assert 0 < sum(p.requires_grad for p in model.parameters()) < len(list(model.parameters()))
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules()) == checkpointing
    assert next(model.parameters()).device.type == "cpu"


@pytest.mark.skipif(not can_let_go(), reason="the system does not say what is mapped")
@pytest.mark.parametrize(("changes", "streams"), [({}, True), ({"streamed": True}, False)])
def test_a_loaded_model_can_be_streamed_from_its_files_once(tmp_path, changes, streams):
    """Its frozen weights are read where they lie."""
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(tmp_path)
    session = session_of(tmp_path)
    session.device.maps_files = True
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).requires_grad_(False)
    ids = torch.arange(24).reshape(2, 12)
    before = model(ids).logits
    assert stream_loaded(model, replace(PLAN, **changes), session) == streams
    assert torch.equal(model(ids).logits, before)


def test_what_learns_or_lies_elsewhere_is_not_streamed(tmp_path):
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    model.save_pretrained(tmp_path)
    session = session_of(tmp_path)
    session.device.maps_files = True
    assert not stream_loaded(model.requires_grad_(False), PLAN, session), "it is not in its files"
    assert not stream_loaded(AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32), PLAN, session)
    session.device.maps_files = False
    assert not stream_loaded(model, PLAN, session)


def test_without_a_size_nothing_holds_it(tiny_model):
    assert isinstance(constraint_of(session_of(tiny_model), PLAN, None), NoSizeConstraint)


@pytest.mark.parametrize(("plan", "from_the_start"), [(PLAN, False), (NEIGHBOURS, True)])
def test_only_where_no_gradients_tell_what_weights_are_worth_it_is_held_from_the_start(
    tiny_model, tmp_path, plan, from_the_start
):
    model = a_classifier(tiny_model)
    constraint = constraint_of(session_of(tiny_model, out=tmp_path, structure=STRUCTURE), plan, model)
    assert isinstance(constraint, SizeConstraint)
    assert (constraint.allocation is not None) == from_the_start
