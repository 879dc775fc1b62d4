"""Loading: a model with our classes and no dropout, or a sentence that says why not."""

import json
import shutil

import pytest

from proxtune.errors import UserError
from proxtune.models.introspection import blocks_of, head_of
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.tokenizer import load_tokenizer


def test_an_architecture_that_is_no_classifier_is_refused(tmp_path, tiny_model):
    shutil.copytree(tiny_model, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(UserError, match="no classifier for model type 'clip'"):
        classifier_config(tmp_path / "model", ["a", "b"], load_tokenizer(tiny_model), 16)


def test_a_model_type_that_nobody_knows_is_refused_in_one_line(tmp_path, tiny_model):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "perpetuum"}))
    with pytest.raises(UserError, match="perpetuum") as caught:
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
