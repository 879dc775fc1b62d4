"""What the kernel says of a process and of the limit around it."""

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from proxtune.memory import process

HOLD_60_MB = """
import os
from proxtune.memory import process

before = process.tree_bytes(os.getpid())
block = bytearray(b"1" * 60_000_000)
print(process.tree_bytes(os.getpid()) - before)
"""


def test_the_peak_is_never_under_what_is_held_and_a_reset_lowers_it():
    process.reset_peak()
    block = mmap.mmap(-1, 60_000_000)  # not of the heap, which another test may have told to keep what is freed
    for _ in range(60):
        block.write(bytes(1_000_000))
    during = process.peak_bytes()
    assert during >= process.resident_bytes() - 1_000_000
    block.close()
    assert process.peak_bytes() >= during - 1_000_000  # the kernel counts in batches of pages
    process.reset_peak()
    if sys.platform == "linux":
        assert process.peak_bytes() < during - 40_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own count")
def test_a_tree_holds_at_least_its_root():
    # In a process of its own: this one shares pages with its siblings, and its part of them changes as they come and go.
    held = subprocess.run([sys.executable, "-c", HOLD_60_MB], capture_output=True, text=True, check=True).stdout
    assert 0.9 * 60_000_000 < int(held) < 1.2 * 60_000_000


def test_a_process_that_is_gone_holds_nothing():
    assert process.resident_bytes(2**22 + 1) == 0


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A file system of our own for `measure` to read; write to it with the function returned."""
    monkeypatch.setattr(process, "Path", lambda path: tmp_path / str(path).lstrip("/"))

    def write(path: str, text: str) -> None:
        place: Path = tmp_path / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    return write


def test_the_smallest_limit_of_a_version_2_group_and_its_parents_counts(system):
    system("/proc/self/cgroup", "0::/outer/inner\n")
    system("/sys/fs/cgroup/outer/inner/memory.max", "max\n")
    system("/sys/fs/cgroup/outer/memory.max", "900000000\n")
    system("/sys/fs/cgroup/memory.max", "2000000000\n")
    assert process.outer_limit_bytes() == 900_000_000


def test_a_version_1_group_counts_and_its_word_for_unlimited_does_not(system):
    system("/proc/self/cgroup", "5:cpu,cpuacct:/job\n3:memory:/job\n")
    system("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert process.outer_limit_bytes() is None
    system("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "500000000\n")
    assert process.outer_limit_bytes() == 500_000_000


def test_a_group_whose_path_is_not_mounted_here_falls_back_on_the_root(system):
    system("/proc/self/cgroup", "0::/somewhere/else\n")
    system("/sys/fs/cgroup/memory.max", "700000000\n")
    assert process.outer_limit_bytes() == 700_000_000


def test_without_groups_there_is_no_outer_limit(system):
    assert process.outer_limit_bytes() is None
