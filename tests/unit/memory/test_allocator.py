"""The C library's heap: `tight` returns what is freed at once, `fast` keeps it until it is trimmed."""

import json
import subprocess
import sys

import pytest

from proxtune.memory.allocator import c_library, set_allocator, trim

needs_glibc = pytest.mark.skipif(c_library() is None, reason="the C library is not glibc")

FREED = """
import json, sys
import numpy as np
from proxtune.memory.allocator import set_allocator, trim
from proxtune.memory.process import resident_bytes
set_allocator(sys.argv[1])
blocks = [np.ones(1 << 17) for _ in range(64)]  # 64 MiB in blocks of 1 MiB
held = resident_bytes()
del blocks
freed = resident_bytes()
trim()
print(json.dumps([held - freed, held - resident_bytes()]))
"""


def freed_by(kind: str) -> tuple[int, int]:
    """Bytes that went back when blocks of 64 MiB were freed, and when the heap was trimmed after that."""
    done = subprocess.run([sys.executable, "-c", FREED, kind], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    at_once, trimmed = json.loads(done.stdout)
    return at_once, trimmed


@needs_glibc
def test_tight_returns_what_is_freed_at_once():
    at_once, _ = freed_by("tight")
    assert at_once > 60 << 20


@needs_glibc
def test_fast_keeps_what_is_freed_until_it_is_trimmed():
    at_once, trimmed = freed_by("fast")
    assert at_once < 8 << 20
    assert trimmed > 60 << 20


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr("proxtune.memory.allocator.c_library", lambda: None)
    assert not set_allocator("fast")
    trim()
