"""Texts as token ids: as the tokenizer makes them, cut so that what closes a text stays, labels by their place."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing

from proxtune.data.examples import Examples, Split
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.models.tokenizer.saving import save_tokenizer
from proxtune.tasks.classification.encoding import encode, encode_parts, mark_between, ready_for_texts
from proxtune.tasks.classification.objective import LABELS
from support.files import refusal


def examples(texts: list[str], labels: list[str] | None = None) -> Examples:
    lines = list(range(2, len(texts) + 2))
    return Examples(texts, labels or [], "a.csv", lines, "text", "label" if labels else None)


def rows_of(encoded) -> list[list[int]]:
    return [encoded.ids[encoded.starts[i] : encoded.starts[i + 1]].tolist() for i in range(len(encoded))]


def test_short_texts_are_what_the_tokenizer_makes_of_them(tiny_folder, tiny_texts):
    tokenizer = load_tokenizer(tiny_folder)
    encoded = encode(examples(tiny_texts[:20]), [], tokenizer, 1000)
    assert rows_of(encoded) == [tokenizer(text, truncation=False)["input_ids"] for text in tiny_texts[:20]]
    assert (encoded.truncated, len(encoded.labels)) == (0, 0)
    assert encoded.objective is LABELS


def test_long_texts_are_cut_as_the_tokenizer_cuts_and_counted(tiny_folder, tiny_texts):
    tokenizer = load_tokenizer(tiny_folder)
    encoded = encode(examples(tiny_texts[:20]), [], tokenizer, 8)
    assert rows_of(encoded) == [tokenizer(text, truncation=True, max_length=8)["input_ids"] for text in tiny_texts[:20]]
    whole = encode(examples(tiny_texts[:20]), [], tokenizer, 1000)
    assert encoded.truncated == int((whole.lengths > 8).sum()) > 0


def test_a_text_of_no_tokens_has_one(tiny_decoder):
    tokenizer = load_tokenizer(tiny_decoder)
    assert tokenizer("")["input_ids"] == []
    assert rows_of(encode(examples([""]), [], tokenizer, 8)) == [[tokenizer.pad_token_id]]


def test_more_rows_than_are_tokenised_at_once_keep_their_order(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    texts = ["film"] * 1024 + ["story story"]
    lengths = encode(examples(texts), [], tokenizer, 8).lengths
    assert len(lengths) == 1025
    assert lengths[-1] == lengths[0] + 1


def test_labels_are_numbered_by_their_place(tiny_model):
    encoded = encode(examples(["a", "b", "c"], ["good", "bad", "good"]), ["bad", "good"], load_tokenizer(tiny_model), 8)
    assert encoded.labels.tolist() == [1, 0, 1]
    assert encoded.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("known", "shown"), [(["a", "b"], "labels: a, b)"), ([*"abcdefghij"], "labels: a, b, c, d, e, f, g, h, …)")]
)
def test_a_label_that_was_never_seen_is_named_with_its_line(tiny_model, known, shown):
    rows = examples(["x", "y"], ["a", "new"])
    message = refusal(encode, rows, known, load_tokenizer(tiny_model), 8)
    assert message.startswith("a.csv line 3: label 'new' was never seen in training")
    assert shown in message


def test_control_tokens_in_texts_are_text_and_that_is_said(tiny_model, tiny_texts, tmp_path):
    tokenizer = load_tokenizer(tiny_model)
    config = SimpleNamespace(pad_token_id=0, architectures=["BertModel"])
    marked = ["a film", "a [SEP] film [PAD]", "the [CLS]"]
    rows = examples([*marked, *tiny_texts[:30]], ["good"] * 33)
    notes = ready_for_texts(tokenizer, config, Split(rows, examples(["[SEP]"], ["good"]), ""))
    assert (
        notes[-1]
        == "3 rows have control tokens of the model in the text ('[SEP]', '[PAD]', '[CLS]'); they are read as plain text"
    )
    encoded = encode(rows, ["bad", "good"], tokenizer, 500)
    control = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id}
    for begin, end in itertools.pairwise(encoded.starts):
        row = encoded.ids[begin:end].tolist()
        assert (row[0], row[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert not control & set(row[1:-1])
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / "config.json").write_text((tiny_model / "config.json").read_text())
    again = load_tokenizer(tmp_path)(rows.texts)["input_ids"]
    assert [number for row in again for number in row] == encoded.ids.tolist(), "the saved tokenizer reads the same"


def pairs(first: list[str], second: list[str]) -> Examples:
    return replace(examples(first), second_texts=second, second_column="other")


@pytest.fixture
def pair_tokenizer(tiny_model):
    """As BERT's own, which the tiny model's is but for pairs."""
    tokenizer = load_tokenizer(tiny_model)
    marks = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=marks
    )
    return tokenizer


@pytest.mark.parametrize("most", [1000, 12])
def test_pairs_are_what_the_tokenizer_makes_of_them(pair_tokenizer, tiny_texts, most):
    first, second = tiny_texts[:20], tiny_texts[20:40]
    encoded = encode(pairs(first, second), [], pair_tokenizer, most, has_types=True)
    made = pair_tokenizer(first, second, truncation="longest_first", max_length=most, return_token_type_ids=True)
    assert rows_of(encoded) == made["input_ids"]
    assert rows_of(replace(encoded, ids=encoded.types)) == made["token_type_ids"]
    assert encoded.truncated == (0 if most == 1000 else 20)
    assert encode(pairs(first, second), [], pair_tokenizer, most).types is None
    assert pair_tokenizer.backend_tokenizer.truncation is None  # it would be saved so


def test_texts_of_a_pair_are_joined_where_the_tokenizer_puts_nothing_between(pair_tokenizer, tiny_model, tiny_decoder):
    assert mark_between(pair_tokenizer) is None
    assert mark_between(lambda *texts, **_: {"input_ids": [*map(ord, "".join(texts))]}) == "\n"
    for folder in (tiny_decoder, tiny_model):  # to which a line break is but a space
        tokenizer = load_tokenizer(folder)
        assert mark_between(tokenizer) == " ||| "
        encoded = encode(pairs(["a film"], ["a story"]), [], tokenizer, 64, has_types=True)
        assert rows_of(encoded) == [tokenizer("a film ||| a story")["input_ids"]]
        assert encoded.types is None


def test_a_few_texts_far_longer_than_the_others_are_cut(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    parts = (examples(["a film"] * 50 + ["film " * 500]), examples(["a story"]))
    train, validation = encode_parts(parts, [], tokenizer, 512, cuts_outliers=True)
    assert (train.lengths.max(), train.truncated, validation.truncated) == (8, 1, 0)
    whole, _ = encode_parts(parts, [], tokenizer, 512, cuts_outliers=False)
    assert whole.lengths.max() > 500


@pytest.mark.parametrize("text", ["film story " * 200_000, " " * 500_000 + "film story", "film" * 300_000])
def test_a_text_of_a_million_characters_is_cut_as_the_tokenizer_cuts(tiny_folder, text):
    tokenizer = load_tokenizer(tiny_folder)
    encoded = encode(examples([text, "a film"]), [], tokenizer, 64)
    assert rows_of(encoded)[0] == tokenizer(text, truncation=True, max_length=64)["input_ids"]


def test_labels_are_found_by_any_spelling(tiny_model):
    encoded = encode(examples(["a", "b"], ["POS", "neg "]), ["neg", "pos"], load_tokenizer(tiny_model), 8)
    assert encoded.labels.tolist() == [1, 0]
