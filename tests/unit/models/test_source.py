"""Where a model is: a word becomes a safe model folder, or a sentence that says why not."""

import pytest

from proxtune.errors import UserError
from proxtune.models.source import count_parameters, find_model


def refusal(name) -> str:
    with pytest.raises(UserError) as caught:
        find_model(str(name))
    words = str(caught.value)
    assert "\n" not in words
    return words


def test_a_model_folder_is_found(tiny_folder):
    source = find_model(str(tiny_folder))
    assert source.folder == tiny_folder.resolve()
    assert source.name == source.origin == str(tiny_folder)


@pytest.mark.parametrize("name", ["./none", "/none/at/all", "~/none", "a/b/c"])
def test_a_folder_that_is_not_there_is_refused(name):
    assert "not a folder" in refusal(name)


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    assert "not a folder" in refusal(tmp_path / "model.bin")


def test_a_folder_without_a_config_is_refused(tmp_path):
    assert "no config.json" in refusal(tmp_path)


def test_pickled_weights_are_never_loaded(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    assert "pickled weights are never loaded" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("config", "words"),
    [(b"{", "unreadable"), (b"\xff\xfe{}", "unreadable"), (b"[]", "not a JSON object"), (b"{}", "no model_type")],
)
def test_a_config_that_says_nothing_is_refused(tmp_path, config, words):
    (tmp_path / "config.json").write_bytes(config)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert words in refusal(tmp_path)


@pytest.mark.parametrize("name", ["nobody", "nobody/nothing-at-all"])
def test_an_unknown_name_is_refused_when_the_hub_is_out_of_reach(name, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    words = refusal(name)
    assert name in words
    assert "minilm" in words


def test_parameters_are_counted_from_the_files_headers(tiny_model):
    from safetensors.numpy import load_file

    numbers = sum(tensor.size for tensor in load_file(str(tiny_model / "model.safetensors")).values())
    assert count_parameters(tiny_model) == numbers > 0
