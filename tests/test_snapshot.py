"""Snapshots: every byte checked, held against the model before memory is taken, and the old one there until the new one is."""

import json
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kept import a_model, digest
from proxtune.headers import BadTensors
from proxtune.plan import Plan
from proxtune.progress import Progress
from proxtune.snapshot import open_snapshot, restore, return_to_snapshot, save_snapshot, snapshots, weights_of
from proxtune.tensors import read_into, verified, write_tensors

PLAN = Plan("layers", "fp32", 8, 8, 32, False, "adamw", 1e-3, 1.0, 9, 0, last_layers=1)


@pytest.fixture
def small(tiny_model):
    """A model of which only the classifier's bias learns: a file of few bytes."""
    model = a_model(tiny_model, PLAN).requires_grad_(False)
    model.classifier.bias.requires_grad_(True)
    return model


def beside_of(model):
    return {f"{name}/exp_avg": torch.full_like(p, 0.5) for name, p in weights_of(model).items()}


def room(entries):
    return {name: torch.empty(entry.shape) for name, entry in entries.items()}


def test_a_snapshot_brings_all_back(tiny_folder, tmp_path):
    model, at = a_model(tiny_folder, PLAN), Progress(PLAN.with_micro_batch(4), 20, step=7, judged=5, rate_share=0.25)
    torch.manual_seed(3)
    save_snapshot(tmp_path, model, beside_of(model), at)
    before, drawn = digest(model), torch.rand(4)
    with torch.no_grad():
        for p in weights_of(model).values():
            p.add_(1)
    torch.manual_seed(9)
    made = {}
    (path,) = snapshots(tmp_path)
    header = open_snapshot(path, model)
    found = restore(path, header, model, PLAN, lambda entries: made.update(room(entries)) or made)
    assert found == at
    assert digest(model) == before
    assert torch.equal(torch.rand(4), drawn)
    assert all((tensor == 0.5).all() for tensor in made.values())
    assert made.keys() == beside_of(model).keys()


def test_the_weights_alone_come_back_from_the_last_snapshot_that_is_whole(small, tmp_path):
    assert return_to_snapshot(small, tmp_path) is None
    save_snapshot(tmp_path, small, beside_of(small), Progress(PLAN, 9, step=3))
    before, (whole,) = digest(small), snapshots(tmp_path)
    whole.with_name("step-00000005.safetensors").write_bytes(whole.read_bytes()[:-1])
    with torch.no_grad():
        small.classifier.bias.add_(1)
    assert return_to_snapshot(small, tmp_path) == 3
    assert digest(small) == before


def test_any_byte_that_is_flipped_is_noticed(small, tmp_path):
    save_snapshot(tmp_path, small, beside_of(small), Progress(PLAN, 9, step=3))
    (path,) = snapshots(tmp_path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in [*range(header), *range(header, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(BadTensors):
            open_snapshot(path, small)
    path.write_bytes(whole)
    assert open_snapshot(path, small)


def test_a_snapshot_that_was_cut_anywhere_is_noticed(small, tmp_path):
    save_snapshot(tmp_path, small, beside_of(small), Progress(PLAN, 9, step=3))
    (path,) = snapshots(tmp_path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for length in [*range(header + 1), *range(header, len(whole), 97)]:
        path.write_bytes(whole[:length])
        with pytest.raises(BadTensors):
            open_snapshot(path, small)


def test_a_snapshot_of_another_model_is_not_read(tiny_model, small, tmp_path):
    save_snapshot(tmp_path, small, {}, Progress(PLAN, 9, step=3))
    (path,) = snapshots(tmp_path)
    with pytest.raises(BadTensors, match="other weights"):
        open_snapshot(path, a_model(tiny_model, PLAN))


def test_what_belongs_to_no_weight_is_refused_before_memory_is_taken(small, tmp_path):
    for beside in ({"nobody/exp_avg": torch.zeros(2)}, {"classifier.bias/exp_avg": torch.zeros(10**6)}):
        save_snapshot(tmp_path, small, beside, Progress(PLAN, 9, step=3))
        (path,) = snapshots(tmp_path)
        with pytest.raises(BadTensors, match="belongs to no weight"):
            open_snapshot(path, small)


def test_a_link_is_not_followed(small, tmp_path):
    save_snapshot(tmp_path, small, {}, Progress(PLAN, 9, step=3))
    (path,) = snapshots(tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadTensors, match="link"):
        open_snapshot(path, small)


def test_the_former_snapshot_goes_only_when_the_new_one_was_read_again(small, tmp_path, monkeypatch):
    from proxtune import snapshot

    save_snapshot(tmp_path, small, {}, Progress(PLAN, 9, step=3))
    there, real = [], snapshot._read_again
    monkeypatch.setattr(
        snapshot, "_read_again", lambda path: there.append([p.name for p in snapshots(tmp_path)]) or real(path)
    )
    save_snapshot(tmp_path, small, {}, Progress(PLAN, 9, step=12))
    assert there == [["step-00000012.safetensors", "step-00000003.safetensors"]]
    assert [p.name for p in snapshots(tmp_path)] == ["step-00000012.safetensors"]


def test_writing_and_reading_hold_no_second_copy(tmp_path):
    """200 MB of tensors, in a process that may not take 60 MB more."""
    import subprocess
    import sys

    script = """
import resource, sys, torch
from pathlib import Path
from proxtune.tensors import read_into, verified, write_tensors
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
