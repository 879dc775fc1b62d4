"""Loading: a model with our classes and no dropout, or a sentence that says why not."""

import json
import shutil
from pathlib import Path

import pytest

from proxtune.errors import UserError
from proxtune.models.introspection import blocks_of, head_of
from proxtune.models.loading import (
    attention_for,
    classifier_config,
    generator_config,
    load_classifier,
    load_generator,
    longest_allowed,
    other_head_notes,
)
from proxtune.models.tokenizer.loading import load_tokenizer


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


BERT = {"vocab_size": 60, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.mark.parametrize(
    ("model_type", "asked", "takes"),
    [
        ("bert", {"max_position_embeddings": 40}, 40),
        ("roberta", {"max_position_embeddings": 40, "pad_token_id": 1}, 38),
        ("camembert", {"max_position_embeddings": 40, "pad_token_id": 1}, 38),
        ("ibert", {"max_position_embeddings": 40, "pad_token_id": 1}, 38),
        ("mpnet", {"max_position_embeddings": 40, "pad_token_id": 1}, 38),
        ("xlm-roberta", {"max_position_embeddings": 40, "pad_token_id": 5}, 34),
    ],
)
def test_positions_may_begin_after_the_padding_ids(model_type, asked, takes):
    from transformers import AutoConfig

    assert longest_allowed(None, AutoConfig.for_model(model_type, **BERT, **asked)) == takes


def test_a_model_without_a_limit_takes_what_its_tokenizer_says():
    from types import SimpleNamespace

    from transformers import T5Config

    config = T5Config(vocab_size=60, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    assert longest_allowed(SimpleNamespace(model_max_length=300), config) == 300
    assert longest_allowed(SimpleNamespace(model_max_length=10**30), config) == 512


@pytest.mark.parametrize(
    ("wanted", "has", "taken"),
    [("sdpa", True, "sdpa"), ("sdpa", False, "eager"), ("eager", True, "eager"), ("someone/kernels", True, "eager")],
)
def test_attention_is_one_that_the_class_has(wanted, has, taken):
    assert attention_for(type("Model", (), {"_supports_sdpa": has}), wanted) == taken


def test_no_part_of_a_config_keeps_its_dropout(tmp_path, tiny_decoder):
    parts = {"text_config": {"attention_dropout": 0.3}, "vision_config": {"attention_dropout": 0.3}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", **parts}))
    config = classifier_config(tmp_path, ["a", "b"], load_tokenizer(tiny_decoder), 16)
    assert (config.text_config.attention_dropout, config.vision_config.attention_dropout) == (0.0, 0.0)
    assert config.text_config.pad_token_id is not None


def test_a_class_that_looks_ahead_unless_it_is_told_is_told_to_generate(tmp_path, tiny_decoder):
    import torch
    from transformers import BertConfig, BertLMHeadModel

    tokenizer = load_tokenizer(tiny_decoder)
    BertLMHeadModel(BertConfig(**BERT | {"vocab_size": len(tokenizer)}, is_decoder=True)).save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text()) | {"is_decoder": False}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    model = load_generator(tmp_path, generator_config(tmp_path, tokenizer, 16)).eval()
    ids = torch.arange(10, 18)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits[:, :4], model(input_ids=ids[:, :4]).logits)


def test_a_model_that_sees_generates_too(tmp_path, tiny_decoder):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]}))
    assert generator_config(tmp_path, load_tokenizer(tiny_decoder), 16).model_type == "gemma3"


def test_a_model_type_that_brings_its_own_code_is_not_asked_to_run_it(tmp_path, tiny_model):
    own = {"model_type": "perpetuum", "auto_map": {"AutoConfig": "configuration.Perpetuum"}}
    (tmp_path / "config.json").write_text(json.dumps(own))
    with pytest.raises(UserError, match="brings code of its own, which is never run"):
        generator_config(tmp_path, load_tokenizer(tiny_model), 16)


def test_a_decoder_saved_without_its_language_head_is_called_so(tmp_path, tiny_decoder):
    folder = shutil.copytree(tiny_decoder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["LlamaForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        UserError, match=r"without a language model's head \(config.json has LlamaForSequenceClassification\)"
    ):
        generator_config(folder, load_tokenizer(folder), 16)


def saved_as(architecture: str, of: Path, to: Path, **changes) -> Path:
    """A model folder whose config.json has that class."""
    folder = shutil.copytree(of, to)
    config = json.loads((folder / "config.json").read_text()) | {"architectures": [architecture]} | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_head_of_another_task_is_told_where_the_language_models_is_that_of_the_embeddings(
    tmp_path, tiny_t5, tiny_decoder
):
    for number, (model, name) in enumerate(
        [(tiny_t5, "T5ForSequenceClassification"), (tiny_decoder, "LlamaForTokenClassification")]
    ):
        folder = saved_as(name, model, tmp_path / str(number), tie_word_embeddings=True)
        config = generator_config(folder, load_tokenizer(folder), 16)
        (note,) = other_head_notes(config)
        assert note.startswith(f"the model was saved for another task ({name}): its head is not used")
    config = generator_config(tiny_t5, load_tokenizer(tiny_t5), 16)
    assert other_head_notes(config) == ()


def test_an_encoder_decoder_saved_without_its_language_head_is_called_so(tmp_path, tiny_t5):
    folder = saved_as("T5ForSequenceClassification", tiny_t5, tmp_path / "model", scale_decoder_outputs=False)
    with pytest.raises(UserError, match=r"without a language model's head .*T5ForSequenceClassification"):
        generator_config(folder, load_tokenizer(folder), 16)


def test_an_encoder_saved_as_a_classifier_generates_nothing_all_the_same(tmp_path, tiny_model):
    folder = saved_as("BertForSequenceClassification", tiny_model, tmp_path / "model")
    with pytest.raises(UserError, match="does not generate text"):
        generator_config(folder, load_tokenizer(folder), 16)
