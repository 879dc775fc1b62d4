"""Snapshots: every byte checked, held against the model before memory is taken, and the old one there until the new one is."""

import pytest
import torch

from proxtune.checkpoint.snapshot import (
    open_snapshot,
    restore,
    return_to_snapshot,
    save_snapshot,
    snapshots,
    weights_of,
)
from proxtune.checkpoint.state import TrainingState
from proxtune.config.plan import Plan
from proxtune.storage.safetensors_header import BadTensors
from support.trainings import digest, prepared_model

PLAN = Plan("layers", "fp32", 8, 8, 32, False, "adamw", 1e-3, 1.0, 9, 0, last_layers=1)


@pytest.fixture
def small(tiny_model):
    """A model of which only the classifier's bias learns: a file of few bytes."""
    model = prepared_model(tiny_model, PLAN).requires_grad_(False)
    model.classifier.bias.requires_grad_(True)
    return model


def beside_of(model):
    return {f"{name}/exp_avg": torch.full_like(p, 0.5) for name, p in weights_of(model).items()}


def room(entries):
    return {name: torch.empty(entry.shape) for name, entry in entries.items()}


def test_a_snapshot_brings_all_back(tiny_folder, tmp_path):
    model, state = (
        prepared_model(tiny_folder, PLAN),
        TrainingState(PLAN.with_micro_batch(4), 20, step=7, validated_step=5, rate_share=0.25),
    )
    torch.manual_seed(3)
    save_snapshot(tmp_path, model, beside_of(model), state)
    before, drawn = digest(model), torch.rand(4)
    with torch.no_grad():
        for p in weights_of(model).values():
            p.add_(1)
    torch.manual_seed(9)
    made = {}
    (path,) = snapshots(tmp_path)
    header = open_snapshot(path, model)
    found = restore(path, header, model, PLAN, lambda entries: made.update(room(entries)) or made)
    assert found == state
    assert digest(model) == before
    assert torch.equal(torch.rand(4), drawn)
    assert all((tensor == 0.5).all() for tensor in made.values())
    assert made.keys() == beside_of(model).keys()


def test_the_weights_alone_come_back_from_the_last_snapshot_that_is_whole(small, tmp_path):
    assert return_to_snapshot(small, tmp_path) is None
    save_snapshot(tmp_path, small, beside_of(small), TrainingState(PLAN, 9, step=3))
    before, (whole,) = digest(small), snapshots(tmp_path)
    whole.with_name("step-00000005.safetensors").write_bytes(whole.read_bytes()[:-1])
    with torch.no_grad():
        small.classifier.bias.add_(1)
    assert return_to_snapshot(small, tmp_path) == 3
    assert digest(small) == before


def test_any_byte_that_is_flipped_is_noticed(small, tmp_path):
    save_snapshot(tmp_path, small, beside_of(small), TrainingState(PLAN, 9, step=3))
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
    save_snapshot(tmp_path, small, beside_of(small), TrainingState(PLAN, 9, step=3))
    (path,) = snapshots(tmp_path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for length in [*range(header + 1), *range(header, len(whole), 97)]:
        path.write_bytes(whole[:length])
        with pytest.raises(BadTensors):
            open_snapshot(path, small)


def test_a_snapshot_of_another_model_is_not_read(tiny_model, small, tmp_path):
    save_snapshot(tmp_path, small, {}, TrainingState(PLAN, 9, step=3))
    (path,) = snapshots(tmp_path)
    with pytest.raises(BadTensors, match="other weights"):
        open_snapshot(path, prepared_model(tiny_model, PLAN))


def test_what_belongs_to_no_weight_is_refused_before_memory_is_taken(small, tmp_path):
    for beside in ({"nobody/exp_avg": torch.zeros(2)}, {"classifier.bias/exp_avg": torch.zeros(10**6)}):
        save_snapshot(tmp_path, small, beside, TrainingState(PLAN, 9, step=3))
        (path,) = snapshots(tmp_path)
        with pytest.raises(BadTensors, match="belongs to no weight"):
            open_snapshot(path, small)


def test_a_link_is_not_followed(small, tmp_path):
    save_snapshot(tmp_path, small, {}, TrainingState(PLAN, 9, step=3))
    (path,) = snapshots(tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadTensors, match="link"):
        open_snapshot(path, small)


def test_the_former_snapshot_goes_only_when_the_new_one_was_read_again(small, tmp_path, monkeypatch):
    from proxtune.checkpoint import snapshot

    save_snapshot(tmp_path, small, {}, TrainingState(PLAN, 9, step=3))
    there, real = [], snapshot._read_again
    monkeypatch.setattr(
        snapshot, "_read_again", lambda path: there.append([p.name for p in snapshots(tmp_path)]) or real(path)
    )
    save_snapshot(tmp_path, small, {}, TrainingState(PLAN, 9, step=12))
    assert there == [["step-00000012.safetensors", "step-00000003.safetensors"]]
    assert [p.name for p in snapshots(tmp_path)] == ["step-00000012.safetensors"]
