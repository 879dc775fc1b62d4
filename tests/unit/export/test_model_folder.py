"""The artifact: the best point comes back as it was, and `model/` is whole or absent."""

import errno
import os

import pytest

from proxtune.checkpoint.snapshot import has_weights, restore_weights, save_weights
from proxtune.export.model_folder import save_model
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.source import weight_bytes
from proxtune.models.tokenizer.loading import load_tokenizer


def a_model(folder):
    return load_classifier(folder, classifier_config(folder, ["bad", "good"], load_tokenizer(folder), 16), 0)


def shift(model, amount: float) -> None:
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(amount)


def test_the_best_point_comes_back_bit_for_bit(tiny_folder, tmp_path):
    import torch

    model = a_model(tiny_folder)
    best = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert not has_weights(tmp_path)
    save_weights(model, tmp_path)
    assert has_weights(tmp_path)
    shift(model, 0.5)
    restore_weights(model, tmp_path)
    assert all(torch.equal(p, best[name]) for name, p in model.named_parameters())


def test_only_what_learns_is_kept(tiny_model, tmp_path):
    from safetensors import safe_open

    model = a_model(tiny_model).requires_grad_(False)
    model.classifier.requires_grad_(True)
    save_weights(model, tmp_path)
    with safe_open(str(tmp_path / "snapshots" / "best.safetensors"), framework="pt") as snapshot:
        assert set(snapshot.keys()) == {"classifier.weight", "classifier.bias"}


def test_the_former_best_stays_when_the_next_cannot_be_written(tiny_model, tmp_path, monkeypatch):
    model = a_model(tiny_model)
    save_weights(model, tmp_path)
    former = (tmp_path / "snapshots" / "best.safetensors").read_bytes()

    def fail(descriptor, data):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "write", fail)
    shift(model, 0.5)
    with pytest.raises(OSError, match="no space left"):
        save_weights(model, tmp_path)
    assert [file.name for file in (tmp_path / "snapshots").iterdir()] == ["best.safetensors"]
    assert (tmp_path / "snapshots" / "best.safetensors").read_bytes() == former


def test_a_saved_model_loads_and_says_its_labels(tiny_folder, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    size = save_model(a_model(tiny_folder), load_tokenizer(tiny_folder), tmp_path)
    assert [place.name for place in tmp_path.iterdir()] == ["model"]
    assert size == weight_bytes(tmp_path / "model") == (tmp_path / "model" / "model.safetensors").stat().st_size
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert loaded.config.id2label == {0: "bad", 1: "good"}
    assert len(AutoTokenizer.from_pretrained(tmp_path / "model")) == loaded.config.vocab_size


def test_a_model_that_cannot_be_saved_leaves_no_model_folder(tiny_model, tmp_path):
    class Broken:
        def save_pretrained(self, folder):
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        save_model(a_model(tiny_model), Broken(), tmp_path)
    assert not (tmp_path / "model").exists()
