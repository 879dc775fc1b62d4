"""Tensor files: what is written comes back, without a second copy of it."""

import json
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from proxtune.storage.safetensors_file import read_into, verified, write_tensors
from proxtune.storage.safetensors_header import BadTensors


def test_writing_and_reading_hold_no_second_copy(tmp_path):
    """200 MB of tensors, in a process that may not take 60 MB more."""
    import subprocess
    import sys

    script = """
import resource, sys, torch
from pathlib import Path
from proxtune.storage.safetensors_file import read_into, verified, write_tensors
tensors = {f"t{i}": torch.full((5_000_000,), float(i)) for i in range(10)}
data = int(next(l for l in open("/proc/self/status") if l.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (data + 60_000_000,) * 2)
path = Path(sys.argv[1])
write_tensors(path, tensors, {"a": "b"})
for tensor in tensors.values():
    tensor.zero_()
read_into(path, verified(path), tensors)
assert all((tensor == float(name[1:])).all() for name, tensor in tensors.items())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "t")], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr


@given(
    st.dictionaries(
        st.text("abc.", min_size=1, max_size=5),
        st.tuples(st.sampled_from(["float32", "bfloat16", "int64", "uint8"]), st.lists(st.integers(0, 4), max_size=3)),
        max_size=4,
    ),
    st.dictionaries(st.sampled_from(["progress", "more"]), st.text(max_size=20)),
)
def test_tensors_come_back_and_safetensors_reads_them_too(tmp_path_factory, asked, told):
    from safetensors.torch import load_file

    tensors = {
        name: (torch.arange(torch.Size(shape).numel()) % 100).view(shape).to(getattr(torch, dtype))
        for name, (dtype, shape) in asked.items()
    }
    path = tmp_path_factory.mktemp("t") / "a.safetensors"
    write_tensors(path, tensors, told)
    header = verified(path)
    assert told.items() <= header.metadata.items()
    others = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    read_into(path, header, others)
    theirs = load_file(path)
    assert theirs.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(others[name], tensor)
        assert torch.equal(theirs[name], tensor)


def test_nothing_is_written_into_tensors_of_another_shape(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"one": torch.ones(2), "two": torch.ones(3)}, {})
    one, two = torch.zeros(2), torch.zeros(4)
    with pytest.raises(BadTensors):
        read_into(path, verified(path), {"one": one, "two": two})
    assert not one.any()
    assert json.loads(path.read_bytes()[8:].split(b"}}")[0] + b"}}")["__metadata__"].keys() == {"sha256"}
