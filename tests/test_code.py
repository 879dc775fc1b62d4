"""Library code in memory: what is let go comes back, and in small pieces."""

import os
import subprocess
import sys

import pytest
import torch

from proxtune.memory import kernels
from proxtune.survey import bf16_pays

SCRIPT = """
import torch
from proxtune.memory.code import _PIECE_BYTES, unload_cold_code
from proxtune.memory.measure import resident_bytes

def areas():
    with open("/proc/self/maps") as lines:
        rows = [line.split(None, 5) for line in lines]
    spans = [row[0].split("-") for row in rows if len(row) > 5 and "libtorch_cpu" in row[5] and "x" in row[1]]
    return [int(high, 16) - int(low, 16) for low, high in spans]

x = torch.ones(64, 64)
before, whole, value = resident_bytes(), max(areas()), float((x @ x).sum())
unload_cold_code()
once = areas()
unload_cold_code()
assert float((x @ x).sum()) == value
print(before, resident_bytes(), whole, max(once), _PIECE_BYTES, len(once) == len(areas()))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells which files are mapped")
def test_code_is_let_go_and_comes_back_in_small_pieces():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after, whole, piece, most, same = done.stdout.split()
    assert int(after) < int(before) - 20_000_000
    assert int(piece) <= int(most) < int(whole)
    assert same == "True", "a second time cuts nothing further"


def test_as_many_kernels_are_kept_as_was_said_unless_the_person_has_said_it(monkeypatch):
    for name in (kernels._NAME, kernels._ABOVE):
        monkeypatch.setenv(name, "77")
    monkeypatch.setattr(kernels, "_SET_BY_THE_PERSON", set())
    kernels.keep_kernels(16)
    assert (os.environ[kernels._NAME], os.environ[kernels._ABOVE]) == ("16", "1")
    monkeypatch.setattr(kernels, "_SET_BY_THE_PERSON", {kernels._ABOVE})
    monkeypatch.setenv(kernels._ABOVE, "77")
    kernels.keep_kernels(256)
    assert (os.environ[kernels._NAME], os.environ[kernels._ABOVE]) == ("256", "77")


# of many shapes in bf16, in a process of its own: the variables are read when the first kernel is compiled
_MANY_SHAPES = """
import sys, torch
from proxtune.memory.allocator import give_back
from proxtune.memory.kernels import keep_kernels
from proxtune.memory.measure import resident_bytes
keep_kernels(16)
layer = torch.nn.Linear(512, 512)
for length in [8, *map(int, sys.argv[1:])]:
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.ones(length, 512, requires_grad=True)).sum().backward()
    layer.zero_grad()
    if length == 16 * 40:
        give_back()
        half = resident_bytes()
give_back()
print(resident_bytes() - half)
"""


def test_kernels_of_many_shapes_do_not_add_up_without_end():
    if not bf16_pays(torch.device("cpu")):
        pytest.skip("only bf16 that the processor multiplies is compiled for each shape")
    lengths = [str(16 * n) for n in range(1, 161)]
    done = subprocess.run([sys.executable, "-c", _MANY_SHAPES, *lengths], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 15_000_000, "120 shapes more"
