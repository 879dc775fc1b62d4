"""A tokenizer comes back as it was saved, in older versions too."""

import json

import pytest

from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.models.tokenizer.saving import save_tokenizer, set_option
from support.tokenizers import WORDS, made, saved


def test_what_is_saved_names_a_class_that_older_versions_know(tmp_path):
    again, told = saved(made(pad_token="<pad>", eos_token="</s>", extra_special_tokens=["<s>"]), tmp_path)
    assert told["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert told["additional_special_tokens"] == ["<s>"]
    assert "extra_special_tokens" not in told
    assert told["model_input_names"] == ["input_ids", "attention_mask"]
    assert again("a good film")["input_ids"] == made()("a good film")["input_ids"]
    assert "<s>" in again.all_special_tokens


def test_options_come_back(tmp_path):
    tokenizer = made(pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    set_option(tokenizer, "split_special_tokens", True)
    set_option(tokenizer, "padding_side", "left")
    again, _ = saved(tokenizer, tmp_path)
    assert (again.split_special_tokens, again.padding_side) == (True, "left")
    assert again("a </s>")["input_ids"] == tokenizer("a </s>")["input_ids"]
    assert tokenizer.eos_token_id not in again("a </s>")["input_ids"]


@pytest.mark.parametrize("name", ["GPTNeoXTokenizer", "GPT2Tokenizer", "RobertaTokenizer"])
@pytest.mark.parametrize("flag", [{}, {"add_eos_token": True}, {"add_bos_token": True, "add_eos_token": False}])
def test_what_a_class_puts_around_texts_comes_back(tmp_path, name, flag):
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet, special = (
        pre_tokenizers.ByteLevel.alphabet(),
        ["<|endoftext|>", "<unk>", "<s>", "</s>", "<pad>", "<mask>"],
    )
    backend.train_from_iterator(
        WORDS, BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": "gpt_neox"}))
    backend.model.save(str(first))
    told = {"tokenizer_class": name, "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>", **flag}
    (first / "tokenizer_config.json").write_text(json.dumps(told))
    tokenizer = load_tokenizer(first)
    save_tokenizer(tokenizer, second)
    assert load_tokenizer(second)("a good film")["input_ids"] == tokenizer("a good film")["input_ids"]
