"""Frozen layers held as codes: what they compute beside ordinary layers of the same values, what they take, how they end."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from proxtune.config.plan import Plan
from proxtune.methods.registry import find_method
from proxtune.models.loading import load_generator
from proxtune.models.quantized_linear import GROUP, FrozenCodes, dequantized_extra_bytes, quantize_frozen_layers
from proxtune.training.gradient_step import gradient_of
from support.generating import toy_data

BOUND = {8: 0.008, 4: 0.1}  # of the distance to normal weights, beside their size


def a_layer(rows: int, columns: int, bias: bool = True, dtype: torch.dtype = torch.float32) -> torch.nn.Linear:
    torch.manual_seed(rows * 1000 + columns)
    layer = torch.nn.Linear(columns, rows, bias, dtype=dtype)
    torch.nn.init.normal_(layer.weight)
    return layer


def a_plan(base_dtype: str, dtype: str = "fp32") -> Plan:
    return Plan("lora", dtype, 4, 4, 32, False, "adamw", 1e-3, 1.0, 1, 0, rank=4, base_dtype=base_dtype)


def moved(model):
    """As if the adapters had learned something."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@given(st.integers(1, 9), st.integers(1, 3 * GROUP), st.sampled_from([8, 4]))
def test_codes_are_near_and_each_is_the_nearest_to_its_number(rows, columns, bits):
    layer = a_layer(rows, columns)
    frozen = FrozenCodes(layer, bits)
    values = frozen.values(torch.float32)
    steps = frozen.scale.float().repeat_interleave(columns // frozen.scale.shape[1], 1)
    inside = (layer.weight.abs() / steps) < (1 << frozen.bits - 1) - 0.5
    assert torch.all(((values - layer.weight).abs() <= 0.501 * steps) | ~inside)
    assert frozen.bits == (8 if columns % 2 else bits)


@pytest.mark.parametrize("bits", [8, 4])
def test_they_are_as_near_as_so_many_bits_allow(bits):
    layer = a_layer(64, 4 * GROUP)
    away = FrozenCodes(layer, bits).values(torch.float32) - layer.weight
    assert away.norm() / layer.weight.norm() < BOUND[bits]


def test_nothing_but_zeros_stays_so():
    layer = a_layer(4, GROUP)
    torch.nn.init.zeros_(layer.weight)
    assert not FrozenCodes(layer, 4).values(torch.float32).any()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_they_compute_what_an_ordinary_layer_of_their_values_does(bits, bias, autocast):
    frozen = FrozenCodes(a_layer(24, 2 * GROUP, bias), bits)
    dense = frozen.dense()
    found = []
    for layer in (frozen, dense):
        torch.manual_seed(2)
        x = torch.randn(3, 5, 2 * GROUP, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = layer(x)
        y.float().square().sum().backward()
        found.append((y, x.grad))
    (y, slope), (dense_y, dense_slope) = found
    assert y.dtype == dense_y.dtype
    torch.testing.assert_close(y, dense_y)
    torch.testing.assert_close(slope, dense_slope)


@pytest.mark.parametrize(("bits", "share"), [(8, 0.51), (4, 0.27)])
def test_they_take_a_half_or_a_quarter_of_bfloat16_and_keep_nothing_for_the_backward_pass(bits, share):
    layer = a_layer(256, 512, bias=False, dtype=torch.bfloat16)
    frozen = FrozenCodes(layer, bits)
    assert frozen.codes.nbytes + frozen.scale.nbytes < share * layer.weight.nbytes
    assert (
        dequantized_extra_bytes(torch.nn.Sequential(frozen))
        == layer.weight.nbytes - frozen.codes.nbytes - frozen.scale.nbytes
    )
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        frozen(torch.randn(2, 512, dtype=torch.bfloat16, requires_grad=True))
    assert kept == []


@pytest.mark.parametrize("which", ["tiny_chat", "tiny_t5"])
@pytest.mark.parametrize("base_dtype", ["int8", "int4"])
def test_adapters_on_codes_learn_and_merge_into_what_they_were_learned_on(which, base_dtype, request, tiny_pairs):
    task = toy_data(request.getfixturevalue(which), tiny_pairs)
    plan, folder = a_plan(base_dtype), request.getfixturevalue(which)
    model = find_method("lora").prepare(load_generator(folder, task.config, plan.loaded_dtype), plan)
    layers = [module for module in model.modules() if isinstance(module, FrozenCodes)]
    assert layers
    gradient_of(model, task.train, np.arange(4), plan, task.pad_id)
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    moved(model).eval()
    rows = np.arange(4)
    from proxtune.tasks.generation.objective import outputs

    with torch.no_grad(), warnings.catch_warnings():
        learned = outputs(model, task.train, rows, task.pad_id)
        plain = find_method("lora").finish(model, plan).eval()
        merged = outputs(plain, task.train, rows, task.pad_id)
    assert not [module for module in plain.modules() if isinstance(module, FrozenCodes)]
    torch.testing.assert_close(merged, learned, rtol=1e-3, atol=1e-3)


def test_the_weight_file_is_let_go_of(tiny_chat, tiny_pairs):
    task = toy_data(tiny_chat, tiny_pairs)
    model = find_method("lora").prepare(load_generator(tiny_chat, task.config, "fp32"), a_plan("fp32"))
    frozen = [p for p in model.parameters() if not p.requires_grad]
    before = {p.data_ptr() for p in frozen}
    quantize_frozen_layers(model, 8)
    still = [p for p in model.parameters() if not p.requires_grad]
    assert not before & {p.data_ptr() for p in still}
    assert len({p.data_ptr() for p in still}) == len(still), "tied weights stay one"
