"""A decoder is asked for the label's word: the tokenizer asks, the classification layer begins as the words' own rows."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from proxtune.data.examples import Examples
from proxtune.models.introspection import head_of
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.tasks.classification.encoding import encode
from proxtune.tasks.classification.label_prompt import (
    append_question,
    fitting_prompt,
    has_language_head,
    init_head_from_words,
    label_word_rows,
    prompt_for,
)

LABELS = ["film", "story"]  # words that the tiny decoder knows


def test_the_question_lists_a_few_labels_and_not_many():
    assert prompt_for(["bad", "good"]).question == "\nLabel (bad or good):"
    assert prompt_for(["a", "b", "not_sure"]).question == "\nLabel (a, b or not sure):"
    assert prompt_for(["a", "not_sure"]).words == (" a", " not sure")
    assert prompt_for([f"topic {i}" for i in range(40)]).question == "\nLabel:"


def test_a_question_leaves_the_text_half_of_the_row_or_is_shorter_or_none_and_that_is_said(tiny_decoder):
    tokenizer, whole = load_tokenizer(tiny_decoder), prompt_for(LABELS)
    long, short = (
        len(tokenizer(asked, add_special_tokens=False)["input_ids"]) for asked in (whole.question, "\nLabel:")
    )
    assert fitting_prompt(LABELS, tokenizer, 2 * long) == (whole, ())
    prompt, (note,) = fitting_prompt(LABELS, tokenizer, 2 * long - 1)
    assert (prompt.question, prompt.words) == ("\nLabel:", whole.words)
    assert "too short for a question that lists the labels" in note
    prompt, (note,) = fitting_prompt(LABELS, tokenizer, 2 * short - 1)
    assert prompt is None
    assert note.startswith("no question follows the texts")


def test_decoders_speak_and_encoders_do_not(tiny_model, tiny_decoder):
    for folder, expected in ((tiny_model, False), (tiny_decoder, True)):
        assert has_language_head(classifier_config(folder, LABELS, load_tokenizer(folder), 64)) is expected


def asking(folder):
    tokenizer, prompt = load_tokenizer(folder), prompt_for(LABELS)
    append_question(tokenizer, prompt)
    return tokenizer, prompt


def test_every_text_ends_in_the_question_cut_or_not(tiny_decoder):
    tokenizer, prompt = asking(tiny_decoder)
    question = tokenizer(prompt.question, add_special_tokens=False)["input_ids"]
    texts = ["the film", "the story " * 40, ""]
    rows = encode(Examples(texts, [], "here", [2, 3, 4], "text", None), LABELS, tokenizer, 24)
    for i, text in enumerate(texts):
        row = rows.ids[rows.starts[i] : rows.starts[i + 1]]
        assert row[-len(question) :].tolist() == question
        assert row.tolist() == tokenizer(text, truncation=True, max_length=24)["input_ids"]
    assert rows.truncated == 1


def test_the_question_is_saved_with_the_tokenizer(tiny_decoder, tmp_path):
    tokenizer, _ = asking(tiny_decoder)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("the film")["input_ids"] == tokenizer("the film")["input_ids"]


@pytest.mark.parametrize("tied", [False, True])
def test_before_it_learns_the_classifier_says_what_the_language_model_says(tiny_decoder, tmp_path, tied):
    """The slow twin: the language model's own logits of the words after the question."""
    speaker = AutoModelForCausalLM.from_pretrained(tiny_decoder, tie_word_embeddings=tied).eval()
    speaker.save_pretrained(tmp_path)
    tokenizer, prompt = asking(tiny_decoder)
    tokenizer.save_pretrained(tmp_path)
    model = load_classifier(tmp_path, classifier_config(tmp_path, LABELS, tokenizer, 64), 0).eval()
    init_head_from_words(head_of(model)[1], label_word_rows(model, tmp_path, tokenizer, prompt))
    words = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in prompt.words]
    ids = torch.tensor([tokenizer("a dull film")["input_ids"]])
    with torch.inference_mode():
        spoken = speaker(input_ids=ids).logits[0, -1]
        found = model(input_ids=ids).logits[0]
    expected = torch.stack([spoken[own].mean() for own in words])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_saved_classifier_with_its_tokenizer_needs_no_prompt_from_its_user(tiny_decoder, tmp_path):
    tokenizer, prompt = asking(tiny_decoder)
    model = load_classifier(tiny_decoder, classifier_config(tiny_decoder, LABELS, tokenizer, 64), 0).eval()
    init_head_from_words(head_of(model)[1], label_word_rows(model, tiny_decoder, tokenizer, prompt))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    plain, its_own = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    )
    rows = encode(Examples(["a dull film"], [], "here", [2], "text", None), LABELS, tokenizer, 64)
    with torch.inference_mode():
        expected = model(input_ids=torch.from_numpy(rows.ids.astype(np.int64))[None]).logits
        found = plain(**its_own("a dull film", return_tensors="pt")).logits
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("causal", "speaks"), [(False, False), (True, True)])
def test_a_language_head_that_looks_ahead_does_not_speak(causal, speaks):
    from transformers import XLMConfig

    assert has_language_head(XLMConfig(architectures=["XLMWithLMHeadModel"], causal=causal)) is speaks
