"""Models: a word becomes a safe model folder, or a sentence that says why not."""

import json
import shutil

import pytest

from proxtune.errors import PersonError
from proxtune.models import (
    blocks_of,
    classifier_config,
    count_parameters,
    find_model,
    head_of,
    load_classifier,
    load_tokenizer,
)


def refusal(name) -> str:
    with pytest.raises(PersonError) as caught:
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
    [(b"{", "unreadable"), (b"\xff\xfe{}", "unreadable"), (b"[]", "no object"), (b"{}", "no model_type")],
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


def test_an_architecture_that_is_no_classifier_is_refused(tmp_path, tiny_model):
    shutil.copytree(tiny_model, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(PersonError, match="no classifier for model type 'clip'"):
        classifier_config(tmp_path / "model", ["a", "b"], load_tokenizer(tiny_model), 16)


def test_a_model_type_that_nobody_knows_is_refused_in_one_line(tmp_path, tiny_model):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "perpetuum"}))
    with pytest.raises(PersonError, match="perpetuum") as caught:
        classifier_config(tmp_path, ["a", "b"], load_tokenizer(tiny_model), 16)
    assert "\n" not in str(caught.value)


def test_a_classifier_has_our_classes_and_no_dropout(tiny_folder):
    import torch

    tokenizer = load_tokenizer(tiny_folder)
    config = classifier_config(tiny_folder, ["bad", "fair", "good"], tokenizer, 16)
    assert config.id2label == {0: "bad", 1: "fair", 2: "good"}
    assert config.label2id == {"bad": 0, "fair": 1, "good": 2}
    assert config.pad_token_id == tokenizer.pad_token_id
    model = load_classifier(tiny_folder, config, 0)
    assert all(module.p == 0 for module in model.modules() if isinstance(module, torch.nn.Dropout))
    ids = torch.arange(10, 20)[None]
    model.train()
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_long_texts_take_the_fused_attention(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    kinds = [classifier_config(tiny_model, ["a", "b"], tokenizer, n)._attn_implementation for n in (64, 256, 264)]
    assert kinds == ["eager", "eager", "sdpa"]


def test_the_body_is_the_pretrained_one_and_the_head_is_drawn_from_the_seed(tiny_folder):
    import torch

    config = classifier_config(tiny_folder, ["a", "b"], load_tokenizer(tiny_folder), 16)
    one, same, other = (load_classifier(tiny_folder, config, seed) for seed in (1, 1, 2))
    assert torch.equal(head_of(one)[1].weight, head_of(same)[1].weight)
    assert not torch.equal(head_of(one)[1].weight, head_of(other)[1].weight)
    for (_, p), (_, q) in zip(
        blocks_of(one)[1].named_parameters(), blocks_of(other)[1].named_parameters(), strict=True
    ):
        assert torch.equal(p, q)
        assert p.dtype == torch.float32


def test_head_and_blocks_are_found(tiny_model, tiny_decoder):
    for folder, head, blocks, count in (
        (tiny_model, "classifier", "bert.encoder.layer", 3),
        (tiny_decoder, "score", "model.layers", 2),
    ):
        model = load_classifier(folder, classifier_config(folder, ["a", "b", "c"], load_tokenizer(folder), 16), 0)
        assert head_of(model)[0] == head
        assert head_of(model)[1].out_features == 3
        name, found = blocks_of(model)
        assert (name, len(found)) == (blocks, count)


@pytest.mark.parametrize("classes", [2, 32, 128])
def test_the_head_is_the_last_layer_even_when_others_are_as_wide(tiny_folder, classes):
    labels = [f"label {i}" for i in range(classes)]
    model = load_classifier(tiny_folder, classifier_config(tiny_folder, labels, load_tokenizer(tiny_folder), 16), 0)
    assert head_of(model)[0] in ("classifier", "score")


def test_parameters_are_counted_from_the_files_headers(tiny_model):
    from safetensors.numpy import load_file

    numbers = sum(tensor.size for tensor in load_file(str(tiny_model / "model.safetensors")).values())
    assert count_parameters(tiny_model) == numbers > 0
