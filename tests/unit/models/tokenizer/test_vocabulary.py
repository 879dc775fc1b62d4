"""Each token of a row has an embedding, and words are known."""

import shutil

import numpy as np
import pytest

from proxtune.errors import UserError
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.models.tokenizer.vocabulary import check_tokens, unknown_notes
from support.tokenizers import made, refusal


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
