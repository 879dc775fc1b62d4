"""One padding token for tokenizer and config."""

import shutil

import pytest

from proxtune.errors import UserError
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.models.tokenizer.padding import agree_on_padding
from support.tokenizers import config_of, made, saved


def test_padding_that_is_there_stays():
    tokenizer, config = made(pad_token="<pad>", eos_token="</s>"), config_of(pad=0)
    assert agree_on_padding(tokenizer, config) == ()
    assert (tokenizer.pad_token, config.pad_token_id) == ("<pad>", 0)


@pytest.mark.parametrize(
    ("named", "filler"),
    [
        ({"eos_token": "</s>", "unk_token": "<unk>"}, "</s>"),
        ({"bos_token": "<s>"}, "<s>"),
        ({"unk_token": "<unk>"}, "<unk>"),
    ],
)
def test_a_padding_token_is_chosen_among_those_there_are_and_said(named, filler):
    tokenizer, config = made(**named), config_of()
    (note,) = agree_on_padding(tokenizer, config)
    assert note == f"the tokenizer has no padding token that the model knows: {filler!r} fills rows up"
    assert tokenizer.pad_token == filler
    assert config.pad_token_id == tokenizer.pad_token_id == tokenizer.convert_tokens_to_ids(filler)


def test_the_config_may_know_the_padding_token():
    tokenizer, config = made(bos_token="<s>", eos_token="</s>"), config_of(pad=2)
    assert agree_on_padding(tokenizer, config) == ()
    assert tokenizer.pad_token == "<s>"


@pytest.mark.parametrize("pad", [-1, 10**6])
def test_a_config_whose_padding_token_is_none_is_corrected(pad):
    config = config_of(pad=pad)
    agree_on_padding(made(pad_token="<pad>"), config)
    assert config.pad_token_id == 0


def test_a_decoder_looks_for_the_padding_that_its_tokenizer_writes():
    config = config_of(pad=2, architectures=["OPTForCausalLM"])
    agree_on_padding(made(pad_token="<pad>", bos_token="<s>"), config)
    assert config.pad_token_id == 0


def test_with_nothing_to_pad_with_a_sentence_says_so():
    with pytest.raises(UserError, match="neither a padding token nor one that ends a text"):
        agree_on_padding(made(special=["<unk>"]), config_of())


def test_a_row_to_spare_in_the_embedding_is_one_for_padding():
    tokenizer, config = made(special=["<unk>"]), config_of(rows=11)
    notes = agree_on_padding(tokenizer, config)
    assert (tokenizer.pad_token, config.pad_token_id, len(tokenizer)) == ("<|pad|>", 10, 11)
    assert "'<|pad|>' fills rows up" in notes[0]
    assert tokenizer(["red", "red green"], padding=True)["input_ids"][0] == [1, 10]


def test_for_a_padding_token_without_a_row_another_is_chosen(tiny_chat, tmp_path):
    folder = shutil.copytree(tiny_chat, tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    tokenizer.save_pretrained(folder)
    tokenizer, config = load_tokenizer(folder), config_of()
    (note,) = agree_on_padding(tokenizer, config)
    assert "'</s>' fills rows up" in note
    again, _ = saved(tokenizer, folder)
    assert again.pad_token == "</s>"
