"""A tokenizer is the model's own and whole, or a sentence says what is missing; and it comes back as it was saved."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from proxtune.errors import UserError
from proxtune.models import tokenizer as module
from proxtune.models.tokenizer import (
    agree_on_padding,
    check_tokens,
    load_tokenizer,
    reading_notes,
    save_tokenizer,
    set_option,
    unknown_notes,
)

WORDS = ["red", "green", "blue", "house", "tree", "river", "a", "film", "good"]


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_tokenizer(folder)
    words = str(caught.value)
    assert "\n" not in words
    return words


def made(special=("<pad>", "<unk>", "<s>", "</s>"), **named):
    """A tokenizer of words without anything that its arguments do not name."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(WordLevel({word: i for i, word in enumerate([*special, *WORDS])}, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **named)


def config_of(pad=None, architectures=(), rows=0):
    return SimpleNamespace(pad_token_id=pad, architectures=list(architectures), vocab_size=rows)


@pytest.mark.parametrize(
    "name", ["BertModel", "GPT2LMHeadModel", "RobertaModel", "T5ForConditionalGeneration", "LlamaForCausalLM"]
)
def test_a_folder_without_a_tokenizer_is_refused(tmp_path, name):
    import transformers

    config = getattr(transformers, name).config_class(vocab_size=50)
    config.architectures = [name]
    config.save_pretrained(tmp_path)
    assert "no tokenizer in" in refusal(tmp_path)
    assert "copy that of the base model" in refusal(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert "no tokenizer in" in refusal(tmp_path), "a config alone has no words"


def test_words_without_the_merges_that_make_them_are_refused(tmp_path):
    import transformers

    transformers.GPT2Config(vocab_size=50).save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate("abcd")}))
    assert "lacks merges.txt" in refusal(tmp_path)


def test_bytes_need_no_vocabulary(tmp_path):
    import transformers

    transformers.T5Config(vocab_size=384).save_pretrained(tmp_path)
    transformers.ByT5Tokenizer().save_pretrained(tmp_path)
    (tmp_path / "added_tokens.json").unlink(missing_ok=True)
    assert load_tokenizer(tmp_path)("ab")["input_ids"] == [100, 101, 1]


def test_a_broken_file_ends_in_a_sentence(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "tokenizer.json").write_text('{"version": "1.0"')
    assert "cannot be read" in refusal(folder)


def test_a_sentencepiece_file_needs_its_package(tiny_t5, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_t5, tmp_path / "model")
    (folder / "tokenizer.json").rename(folder / "spiece.model")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    words = refusal(folder)
    assert "is a SentencePiece model (spiece.model)" in words
    assert "pip install 'proxtune[sentencepiece]'" in words


def test_a_sentencepiece_file_alone_is_read(tmp_path):
    spm = pytest.importorskip("sentencepiece")
    import transformers

    texts = tmp_path / "texts"
    texts.write_text("\n".join(["a good film", "red green blue", "the house by the river"] * 20))
    spm.SentencePieceTrainer.train(
        input=str(texts), model_prefix=str(tmp_path / "spiece"), vocab_size=40, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    transformers.T5Config(vocab_size=200).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer("a good film")["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a good film"


ALBERT_PIECES = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "user_defined_symbols": "[CLS],[SEP],[MASK]"}


def spiece_alone(folder: Path, model: str, **pieces) -> Path:
    """A folder with a SentencePiece file and the config of a model; returns the file."""
    spm = pytest.importorskip("sentencepiece")
    import transformers

    kind = {"t5": transformers.T5Config, "albert": transformers.AlbertConfig}[model]
    kind(vocab_size=200).save_pretrained(folder)
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(["a good film", "red green blue", "the house by the river"] * 20), vocab_size=60,
        model_prefix=str(folder / "spiece"), hard_vocab_limit=False, minloglevel=2, **pieces,
    )  # fmt: skip
    return folder / "spiece.model"


@pytest.mark.parametrize("kept", [0, 300])
def test_a_damaged_sentencepiece_file_is_called_so(tmp_path, kept):
    file = spiece_alone(tmp_path, "t5", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    file.write_bytes(file.read_bytes()[:kept])
    words = refusal(tmp_path)
    assert f"spiece.model is no SentencePiece model that can be read ({kept} bytes" in words
    assert "copy it from the base model again" in words


def test_pieces_of_another_model_are_told_by_those_that_lack(tmp_path):
    spiece_alone(tmp_path, "albert", **ALBERT_PIECES)
    assert load_tokenizer(tmp_path)("red")["input_ids"]
    spiece_alone(tmp_path, "albert")
    words = refusal(tmp_path)
    assert "spiece.model has no piece for" in words
    assert "[CLS]" in words
    assert "copy the tokenizer of the base model" in words


def test_pieces_that_were_learned_for_another_algorithm_are_refused(tmp_path):
    spiece_alone(tmp_path, "t5", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, model_type="bpe")
    words = refusal(tmp_path)
    assert "holds pieces for BPE, and transformers' T5Tokenizer would cut texts by Unigram" in words


@pytest.mark.parametrize("added", [["<new>"], [f"word{i}" for i in range(9)]])
def test_tokens_without_a_row_in_the_embedding_are_refused(tiny_model, tmp_path, added):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    rows = len(tokenizer)
    tokenizer.add_tokens(added)
    tokenizer.save_pretrained(folder)
    words = refusal(folder)
    assert f"has {rows + len(added):,} tokens and the model an embedding of {rows:,}" in words
    assert "resize_token_embeddings" in words


def test_an_end_of_text_without_a_row_is_refused(tiny_chat, tmp_path):
    folder = shutil.copytree(tiny_chat, tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    tokenizer.add_special_tokens({"eos_token": "<|end|>"})
    tokenizer.save_pretrained(folder)
    assert "an embedding of" in refusal(folder)


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


def test_a_special_token_of_another_use_may_lack_a_row(tiny_model, tmp_path):
    """Gemma 3's <image_soft_token> does: no text becomes one."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(folder)
    assert load_tokenizer(folder)("a")["input_ids"]


def test_rows_with_a_token_that_has_no_embedding_are_refused():
    class Config:
        vocab_size = 13

        def get_text_config(self):
            return self

    check_tokens(made(), Config(), np.array([1, 12]), np.array([], dtype=int))
    with pytest.raises(UserError, match=r"'good' \(13\), for which the model has no embedding \(13 rows\)"):
        check_tokens(made(special=("<pad>", "<unk>", "<s>", "</s>", "<x>")), Config(), np.array([1, 13]))


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


def test_a_tokenizer_that_knows_no_words_is_refused_and_one_that_lacks_many_is_told_of():
    tokenizer = made(unk_token="<unk>")
    assert unknown_notes(tokenizer, ["a good film", "red"] * 20) == ()
    (note,) = unknown_notes(tokenizer, ["a good film quux"] * 20)
    assert note == "the tokenizer does not know 25% of the words in the first rows"
    with pytest.raises(UserError, match="does not know 100% of the words"):
        unknown_notes(tokenizer, ["quux quuz corge"] * 20)
    assert unknown_notes(tokenizer, ["", " "]) == ()


def test_characters_that_are_dropped_are_unknown_too():
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    deaf = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE({"a": 0, "b": 1}, [])))
    with pytest.raises(UserError, match="does not know"):
        unknown_notes(deaf, ["人人", "天天", "人天"])


def saved(tokenizer, folder: Path, model_type: str = "llama"):
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    save_tokenizer(tokenizer, folder)
    return load_tokenizer(folder), json.loads((folder / "tokenizer_config.json").read_text())


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


def test_a_class_whose_sentencepiece_file_it_does_not_name_is_read_from_it(tmp_path):
    from transformers import GemmaTokenizer

    spm = pytest.importorskip("sentencepiece")
    with (tmp_path / "tokenizer.model").open("wb") as file:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(["a good film", "red green blue", "the house by the river"] * 20), model_writer=file,
            model_type="bpe", vocab_size=60, pad_id=0, eos_id=1, bos_id=2, unk_id=3, hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GemmaTokenizer"}))
    tokenizer = load_tokenizer(tmp_path)
    assert isinstance(tokenizer, GemmaTokenizer)
    assert tokenizer.tokenize("red house")


def test_a_tokenizer_that_brings_its_own_code_is_not_asked_to_run_it(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    own = {"tokenizer_class": "PerpetuumTokenizer", "auto_map": {"AutoTokenizer": ["code.PerpetuumTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(own))
    assert "PerpetuumTokenizer) brings code of its own, which is never run" in refusal(folder)


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


def with_option(folder, name, **told):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **told}))
    return folder


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
