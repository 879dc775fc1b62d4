"""A tokenizer cuts texts as its file says, whatever class it is named."""

import json
import shutil

import pytest

from proxtune.models.tokenizer.loading import load_tokenizer, reading_notes
from proxtune.models.tokenizer.saving import save_tokenizer
from support.tokenizers import refusal, with_option


@pytest.mark.parametrize("named", ["LlamaTokenizer", "GPT2Tokenizer"])
def test_a_class_that_cuts_texts_otherwise_than_the_file_is_not_taken_at_its_word(tiny_model, tmp_path, named):
    from transformers import AutoTokenizer

    shutil.copytree(tiny_model, tmp_path / "model")
    path = tmp_path / "model" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": named}))
    right, tokenizer = load_tokenizer(tiny_model), load_tokenizer(tmp_path / "model")
    text = "the film was good, and 12 others"
    assert tokenizer(text)["input_ids"] == right(text)["input_ids"]
    assert reading_notes(right) == ()
    assert reading_notes(tokenizer)[0].startswith("tokenizer.json cuts texts otherwise than ")
    save_tokenizer(tokenizer, tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved")(text)["input_ids"] == right(text)["input_ids"]


def test_a_class_that_transformers_takes_whatever_is_saved_is_left_to_it(tiny_model, tmp_path):
    """By the type of the model: read otherwise, the saved model would be asked in other tokens than it learned."""
    from transformers import AutoTokenizer

    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"model_type": "qwen3_5_moe_text", "vocab_size": 100000}')
    tokenizer = load_tokenizer(tmp_path / "model")
    text = "the film was good, and 12 others"
    assert tokenizer(text)["input_ids"] == AutoTokenizer.from_pretrained(tmp_path / "model")(text)["input_ids"]
    assert reading_notes(tokenizer)[0].endswith(", which transformers reads it by")


@pytest.mark.parametrize("most", ["128", True, [128]])
def test_a_longest_text_that_is_no_number_is_named(tiny_model, tmp_path, most):
    shutil.copytree(tiny_model, tmp_path / "model")
    words = refusal(with_option(tmp_path / "model", "tokenizer_config.json", model_max_length=most))
    assert f"is {most!r}, which is no number" in words


def test_a_longest_text_with_a_fraction_is_obeyed(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "model")
    tokenizer = load_tokenizer(with_option(tmp_path / "model", "tokenizer_config.json", model_max_length=16.0))
    assert repr(tokenizer.model_max_length) == "16"


def test_a_config_that_cannot_be_read_is_not_called_the_tokenizer_s_fault(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "model")
    words = refusal(with_option(tmp_path / "model", "config.json", id2label=["bad", "good"]))
    assert words.startswith("transformers cannot read config.json in ")
