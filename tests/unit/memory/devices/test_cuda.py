"""A CUDA device where there is none: what plans count with. On one: tests/integration/test_cuda.py."""

import torch

from proxtune.memory.devices import cpu, cuda
from proxtune.memory.devices.calibration import constant_names


def test_what_was_not_measured_there_says_so():
    taken_over = [name for name in constant_names() if "not measured" in cuda.CALIBRATION.sources[name]]
    assert all(getattr(cuda.CALIBRATION, name) == getattr(cpu.CALIBRATION, name) for name in taken_over)
    assert "micro_batch_seconds" not in taken_over
    assert cuda.CALIBRATION.micro_batch_seconds < cpu.CALIBRATION.micro_batch_seconds


def test_kernels_and_libraries_of_the_processor_are_not_counted_there():
    for name in ("training_kernel_bytes", "forward_kernel_bytes", "neighbour_kernel_bytes", "adapter_kernel_bytes"):
        assert set(getattr(cuda.CALIBRATION, name).values()) == {0}
    assert cuda.CALIBRATION.adapter_library_bytes == 0


def test_its_fused_attention_is_used_for_rows_of_any_length():
    assert {cuda.DEVICE.attention(usual) for usual in ("eager", "sdpa")} == {"sdpa"}
    assert [cpu.DEVICE.attention(usual) for usual in ("eager", "sdpa")] == ["eager", "sdpa"]


def test_where_there_is_none_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device" in cuda.DEVICE.explain_missing()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert cuda.DEVICE.explain_missing() is None
