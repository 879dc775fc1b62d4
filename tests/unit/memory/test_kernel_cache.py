"""Compiled kernels: no more are kept than was said."""

import os
import subprocess
import sys

import pytest

from proxtune.memory import kernel_cache
from proxtune.memory.devices.registry import host_device


def test_as_many_kernels_are_kept_as_was_said_unless_the_user_has_said_it(monkeypatch):
    for name in (kernel_cache._NAME, kernel_cache._ABOVE):
        monkeypatch.setenv(name, "77")
    monkeypatch.setattr(kernel_cache, "_SET_BY_THE_USER", set())
    kernel_cache.limit_kernel_cache(16)
    assert (os.environ[kernel_cache._NAME], os.environ[kernel_cache._ABOVE]) == ("16", "1")
    monkeypatch.setattr(kernel_cache, "_SET_BY_THE_USER", {kernel_cache._ABOVE})
    monkeypatch.setenv(kernel_cache._ABOVE, "77")
    kernel_cache.limit_kernel_cache(256)
    assert (os.environ[kernel_cache._NAME], os.environ[kernel_cache._ABOVE]) == ("256", "77")


# of many shapes in bf16, in a process of its own: the variables are read when the first kernel is compiled
_MANY_SHAPES = """
import sys, torch
from proxtune.memory.allocator import trim
from proxtune.memory.kernel_cache import limit_kernel_cache
from proxtune.memory.process import resident_bytes
limit_kernel_cache(16)
layer = torch.nn.Linear(512, 512)
for length in [8, *map(int, sys.argv[1:])]:
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.ones(length, 512, requires_grad=True)).sum().backward()
    layer.zero_grad()
    if length == 16 * 40:
        trim()
        half = resident_bytes()
trim()
print(resident_bytes() - half)
"""


def test_kernels_of_many_shapes_do_not_add_up_without_end():
    if not host_device().supports_bf16:
        pytest.skip("only bf16 that the processor multiplies is compiled for each shape")
    lengths = [str(16 * n) for n in range(1, 161)]
    done = subprocess.run([sys.executable, "-c", _MANY_SHAPES, *lengths], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 15_000_000, "120 shapes more"
