"""The files of a tokenizer are there and whole, or a sentence says what is missing."""

import json
import shutil

import pytest

from proxtune.models.tokenizer import files as module
from proxtune.models.tokenizer.loading import load_tokenizer
from support.tokenizers import ALBERT_PIECES, refusal, spiece_alone


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


def test_a_tokenizer_that_brings_its_own_code_is_not_asked_to_run_it(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    own = {"tokenizer_class": "PerpetuumTokenizer", "auto_map": {"AutoTokenizer": ["code.PerpetuumTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(own))
    assert "PerpetuumTokenizer) brings code of its own, which is never run" in refusal(folder)
