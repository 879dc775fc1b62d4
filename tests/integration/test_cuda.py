"""On a GPU, where there is one: the same commands, and the budget is of the device's memory."""

import json
from pathlib import Path

import pytest
import torch

from proxtune.checks import check_device
from proxtune.errors import UserError
from proxtune.memory import process
from proxtune.memory.devices.registry import find_device
from proxtune.memory.governor import is_refusal
from support.commands import proxtune_in_a_process

needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
MEGABYTE = 1_000_000


def test_what_others_hold_of_a_device_is_as_the_driver_tells(monkeypatch):
    told = "GPU-aa, 11, 300\nGPU-bb, 12, 500\nGPU-aa, 13, [N/A]\nGPU-aa, 14, 100\nNo devices were found\n"
    monkeypatch.setattr(process.os, "getpid", lambda: 14)
    monkeypatch.setattr(process.subprocess, "run", lambda *words, **more: type("Told", (), {"stdout": told}))
    assert process.device_bytes_of_others("aa") == 300 << 20


def test_without_the_drivers_tool_there_are_no_others(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert process.device_bytes_of_others("aa") == 0


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="finds no CUDA device here"):
        find_device("cuda")
    assert find_device("auto").name == "cpu"
    assert find_device("cuda", or_another=True).name == "cpu", "a trained model may be used elsewhere"


@needs_a_gpu
def test_it_keeps_the_contract():
    check_device(find_device("cuda"))


@needs_a_gpu
def test_the_meter_counts_the_context_and_refuses_what_goes_beyond():
    device = find_device("cuda")
    meter, device = device.meter(), device.torch_device
    before = meter.now()
    assert before > 50 * MEGABYTE  # the context
    block = torch.zeros(256 * MEGABYTE, dtype=torch.uint8, device=device)
    assert 255 * MEGABYTE < meter.now() - before < 300 * MEGABYTE
    meter.limit(meter.now() + 64 * MEGABYTE)
    with pytest.raises(RuntimeError) as refused:
        torch.zeros(512 * MEGABYTE, dtype=torch.uint8, device=device)
    assert is_refusal(refused.value)
    meter.limit(None)
    more = torch.zeros(512 * MEGABYTE, dtype=torch.uint8, device=device)
    assert meter.peak() - before > 760 * MEGABYTE
    del block, more
    meter.trim()
    meter.reset()
    assert meter.peak() - before < 60 * MEGABYTE


@needs_a_gpu
@pytest.mark.slow
@pytest.mark.parametrize(
    "words", ["full bf16", "full fp32", "layers bf16", "lora fp32", "lora bf16", "probe bf16", "nno bf16"]
)
def test_every_method_learns_there_within_the_budget(tmp_path, tiny_model, tiny_reviews, words):
    method, dtype = words.split()
    result = ran(
        tmp_path / "run",
        tiny_reviews,
        "--model",
        str(tiny_model),
        "--method",
        method,
        "--dtype",
        dtype,
        "--epochs",
        "1",
    )
    assert result["method"] == method
    said = proxtune_in_a_process("predict", str(tmp_path / "run"), "a fine film", "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout.splitlines()[-1])["predictions"][0]["label"] in ("negative", "positive")


@needs_a_gpu
@pytest.mark.slow
@pytest.mark.parametrize("base", ["fp32", "bf16", "int8", "int4"])
def test_adapters_on_weights_of_every_type_learn_to_write_there(tmp_path, tiny_chat, tiny_pairs, base):
    codes = ("--base-dtype", base) if base.startswith("int") else ("--dtype", base)
    result = ran(
        tmp_path / "run", tiny_pairs, "--model", str(tiny_chat), "--task", "translate", "--method", "lora", *codes,
        "--epochs", "1",
    )  # fmt: skip
    assert result["metrics"]["loss"] > 0
    said = proxtune_in_a_process("predict", str(tmp_path / "run"), "old house", "--json")
    assert said.returncode == 0, said.stderr


def ran(folder: Path, data: Path, *words: str) -> dict:
    """The result of a run on the device, within 3 GB of it in every phase."""
    done = proxtune_in_a_process(
        "train", str(data), "--out", str(folder), "--memory", "3GB", "--device", "cuda", *words, "--json"
    )
    assert done.returncode == 0, done.stderr
    result: dict = json.loads(done.stdout.splitlines()[-1])
    assert result["status"] == "done"
    assert max(result["measured"]["memory_bytes"].values()) <= 3_000_000_000
    return result
