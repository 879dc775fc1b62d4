"""Texts as token ids: as the tokenizer makes them, cut so that what closes a text stays, labels by their place."""

import numpy as np
import pytest

from proxtune.data.examples import Examples
from proxtune.models.tokenizer import load_tokenizer
from proxtune.tasks.classification.encoding import encode
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
