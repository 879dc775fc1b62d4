"""Trimmed vocabularies: every text still tokenises, and texts of pieces that stayed are cut as before."""

import json
from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from proxtune.compression.vocabulary import NotTrimmed, Trimmed, config_with, trimmed
from proxtune.memory.lean_imports import import_lean
from proxtune.models.source import find_model
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.tasks.classification.label_prompt import append_question, prompt_for

KINDS = ("minilm", "smollm2", "unigram", "words", "characters", "bytes")


@pytest.fixture(scope="module")
def tokenizers(tiny_texts):
    """A real one of each kind, by name; the small ones learned from film reviews."""
    import_lean()
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    def learned(model, trainer, **parts):
        backend = Tokenizer(model)
        for name, part in parts.items():
            setattr(backend, name, part)
        backend.train_from_iterator(tiny_texts, trainer)
        known = {"unk_token": "[UNK]"} if backend.token_to_id("[UNK]") is not None else {}
        return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", **known)

    special = {"special_tokens": ["[PAD]", "[UNK]"], "show_progress": False, "vocab_size": 800}
    every_byte = [f"<0x{byte:02X}>" for byte in range(256)]
    fallback = {"special_tokens": ["[PAD]", *every_byte], "show_progress": False, "vocab_size": 1200}
    found = {
        "unigram": learned(
            models.Unigram(),
            trainers.UnigramTrainer(unk_token="[UNK]", **special),
            pre_tokenizer=pre_tokenizers.Metaspace(),
        ),
        "words": learned(
            models.WordLevel(unk_token="[UNK]"),
            trainers.WordLevelTrainer(**special),
            pre_tokenizer=pre_tokenizers.Whitespace(),
        ),
        "characters": learned(
            models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"),
            trainers.BpeTrainer(end_of_word_suffix="</w>", **special),
            pre_tokenizer=pre_tokenizers.Whitespace(),
        ),
        "bytes": learned(
            models.BPE(byte_fallback=True),
            trainers.BpeTrainer(**fallback),
            normalizer=normalizers.Replace(" ", "▁"),
            decoder=decoders.ByteFallback(),
        ),
    }
    last = found["bytes"].convert_ids_to_tokens(1100)
    found["bytes"].backend_tokenizer.post_processor = processors.RobertaProcessing(
        (last, 1100), ("[PAD]", 0), True, False
    )
    for name in ("minilm", "smollm2"):
        found[name] = load_tokenizer(find_model(name).folder)
    append_question(found["smollm2"], prompt_for(["negative", "positive"]))
    return found


def counted(tokenizer, texts):
    return np.bincount(
        np.concatenate([tokenizer(text, truncation=False, padding=False)["input_ids"] for text in texts])
    )


@pytest.fixture(scope="module")
def short(tokenizers, tiny_texts):
    """Each of them trimmed to what 100 reviews use, and to some hundred rows less."""
    found = {}
    for name, tokenizer in tokenizers.items():
        counts = counted(tokenizer, tiny_texts[:100])
        whole = trimmed(tokenizer, counts)
        assert isinstance(whole, Trimmed)
        least = trimmed(tokenizer, counts, rows=1)
        assert isinstance(least, NotTrimmed)
        rows = (least.least_rows + 2 * len(whole.kept)) // 3
        found[name] = trimmed(tokenizer, counts, rows=rows)
        assert isinstance(found[name], Trimmed)
        assert least.least_rows <= len(found[name].kept) <= rows < len(whole.kept)
    return found


def tokens(tokenizer, text):
    encoding = tokenizer.backend_tokenizer.encode(text)
    return [token for token, ignored in zip(encoding.tokens, encoding.attention_mask, strict=True) if ignored]


def unknown(tokenizer, text):
    return sum(token == tokenizer.unk_token for token in tokens(tokenizer, text))


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=60)
@given(text=st.text(max_size=60))
def test_every_text_still_tokenises(tokenizers, short, name, text):
    old, new = tokenizers[name], short[name]
    ids = new.tokenizer(text)["input_ids"]
    assert all(0 <= place < len(new.kept) for place in ids)
    if name in ("minilm", "characters"):  # a word of known characters stays known
        assert unknown(new.tokenizer, text) == unknown(old, text)
    if name in ("smollm2", "bytes"):  # nothing is lost, down to the byte
        raw = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        assert new.tokenizer.decode(ids, **raw) == old.decode(old(text)["input_ids"], **raw)


@pytest.mark.parametrize("name", KINDS)
def test_a_text_of_pieces_that_stayed_is_cut_as_before(tokenizers, short, name, tiny_texts):
    old, new = tokenizers[name], short[name]
    same = 0
    for text in {word for review in tiny_texts for word in review.split()} | set(tiny_texts[100:]):
        before = old(text)["input_ids"]
        if set(before) <= new.new_ids.keys():
            assert new.tokenizer(text)["input_ids"] == [new.new_id(place) for place in before]
            same += 1
    assert same > 300


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=40)
@given(data=st.data())
def test_also_any_text_of_such_pieces(tokenizers, short, name, data):
    old, new = tokenizers[name], short[name]
    places = data.draw(st.lists(st.integers(0, len(new.kept) - 1), max_size=8))
    text = old.decode([new.kept[place] for place in places])
    before = old(text)["input_ids"]
    if set(before) <= new.new_ids.keys():
        assert new.tokenizer(text)["input_ids"] == [new.new_id(place) for place in before]


@pytest.mark.parametrize("name", KINDS)
def test_the_rows_are_those_of_the_pieces(tokenizers, short, name):
    old, new = tokenizers[name], short[name]
    assert len(set(new.kept)) == len(new.kept) == len(new.tokenizer)
    assert old.convert_ids_to_tokens(list(new.kept)) == new.tokenizer.convert_ids_to_tokens(list(range(len(new.kept))))
    assert new.tokenizer.special_tokens_map == old.special_tokens_map
    assert new.new_id(new.kept[3]) == 3
    assert {old.convert_tokens_to_ids(token) for token in old.all_special_tokens} <= set(new.kept)


@pytest.mark.parametrize("name", KINDS)
def test_it_is_saved_and_loaded_again(short, name, tmp_path, tiny_texts):
    new = short[name].tokenizer
    new.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    for text in [*tiny_texts[:50], "", "ein Ölfaß, 東京 🎬\x00"]:
        assert loaded(text, "and more")["input_ids"] == new(text, "and more")["input_ids"]
    assert loaded.pad_token_id == new.pad_token_id == new.convert_tokens_to_ids(new.pad_token)
    padded = loaded(["a", "a longer one"], padding="longest", truncation=False)["input_ids"]
    assert padded[0][-1] == loaded.pad_token_id


@pytest.mark.parametrize("name", KINDS)
def test_the_most_used_stay(tokenizers, short, name, tiny_texts):
    old, new = tokenizers[name], short[name]
    used = Counter(place for text in tiny_texts[:100] for place in old(text, padding=False)["input_ids"])
    gone = [used[place] for place in used if place not in new.new_ids]
    assert gone
    assert max(gone) <= np.median([used[place] for place in used if place in new.new_ids])


def test_characters_that_the_data_never_have_may_go(tokenizers, short, tiny_texts):
    old = tokenizers["minilm"]
    counts = counted(old, tiny_texts)
    all_of_them, few = trimmed(old, counts), trimmed(old, counts, all_characters=False)
    assert len(all_of_them.kept) - len(few.kept) > 1000
    assert sum(unknown(few.tokenizer, text) for text in tiny_texts) == sum(unknown(old, text) for text in tiny_texts)
    assert few.tokenizer.tokenize("zxqj vwkyx") == all_of_them.tokenizer.tokenize("zxqj vwkyx")
    assert few.tokenizer.tokenize("東京") == ["[UNK]", "[UNK]"]
    of_bytes = trimmed(tokenizers["smollm2"], np.zeros(0, int), all_characters=False)
    assert set(short["smollm2"].kept) >= set(of_bytes.kept)
    assert of_bytes.tokenizer.decode(of_bytes.tokenizer("東京", add_special_tokens=False)["input_ids"]) == "東京"


def test_a_tokenizer_that_holds_nothing_of_the_kind_is_refused():
    assert "not of the library" in trimmed(object(), []).why


@pytest.mark.parametrize("folder", ["tiny_model", "tiny_decoder"])
def test_a_model_with_fewer_rows_predicts_the_same(folder, request, tiny_texts):
    import torch
    from transformers import AutoModelForSequenceClassification

    folder = request.getfixturevalue(folder)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    old = load_tokenizer(folder)
    new = trimmed(old, counted(old, tiny_texts[:20]))
    assert len(new.kept) < len(old)
    config = config_with(model.config, new)
    assert config.vocab_size == len(new.kept)
    assert config.pad_token_id == new.tokenizer.pad_token_id
    assert model.config.vocab_size == len(old)
    weights = model.state_dict()
    name = next(name for name, weight in weights.items() if len(weight) == len(old) and weight.dim() == 2)
    weights[name] = weights[name][list(new.kept)]
    smaller = type(model)(config).eval()
    smaller.load_state_dict(weights)
    for text in tiny_texts[:20]:
        ids = [t(text, return_tensors="pt", truncation=True, max_length=64)["input_ids"] for t in (old, new.tokenizer)]
        with torch.no_grad():
            torch.testing.assert_close(smaller(ids[1]).logits, model(ids[0]).logits)


def test_a_config_names_the_new_ids(short):
    from transformers import LlamaConfig

    new = short["smollm2"]
    config = LlamaConfig(vocab_size=49152, bos_token_id=1, eos_token_id=[new.kept[5], 49_000], pad_token_id=new.kept[2])
    changed = config_with(config, new)
    assert changed.vocab_size == len(new.kept)
    assert (changed.bos_token_id, changed.pad_token_id) == (1, 2)
    assert changed.eos_token_id == [5]
    assert json.loads(changed.to_json_string())["eos_token_id"] == [5]
    assert config.eos_token_id == [new.kept[5], 49_000]
