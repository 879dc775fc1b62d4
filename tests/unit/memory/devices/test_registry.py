"""Devices by name: what is asked for, or what is here."""

import pytest
import torch

from proxtune.errors import UserError
from proxtune.memory import process
from proxtune.memory.devices import registry
from proxtune.memory.devices.registry import check_device_name, device_of, find_device, host_device, outer_limit_bytes


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_device_that_is_not_here_is_refused_or_gives_way(no_gpu):
    with pytest.raises(UserError, match="finds no CUDA device here; leave --device out"):
        find_device("cuda")
    assert find_device("cuda", or_another=True) is host_device()
    assert find_device("auto") is find_device("cpu") is host_device()


def test_where_there_are_several_the_last_is_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto").name == "cuda"
    assert find_device("cpu") is host_device()


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="unknown device 'tpu'; choose one of auto, cpu, cuda"):
        check_device_name("tpu")


def test_a_model_is_on_the_device_that_torch_says():
    assert device_of(torch.nn.Linear(2, 2)) is host_device()


@pytest.mark.parametrize(("wanted", "limit"), [("auto", 500), ("cpu", 500), ("cuda", None)])
def test_a_control_group_limits_the_processors_memory_alone(monkeypatch, wanted, limit):
    monkeypatch.setattr(process, "outer_limit_bytes", lambda: 500)
    assert outer_limit_bytes(wanted) == limit


def test_the_last_name_is_not_auto():
    assert registry.device_names()[0] == registry.AUTO
    assert registry.AUTO not in registry.DEVICES.names()
