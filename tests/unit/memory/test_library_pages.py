"""Library code in memory: what is let go comes back, and in small pieces."""

import subprocess
import sys

import pytest

SCRIPT = """
import torch
from proxtune.memory.library_pages import _PIECE_BYTES, unload_cold_code
from proxtune.memory.process import resident_bytes

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
