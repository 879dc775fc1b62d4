"""A decoder is asked for the label's word: the tokenizer asks, the classification layer begins as the words' own rows."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from proxtune.data.examples import Examples
from proxtune.models.introspection import head_of
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.tokenizer import load_tokenizer, save_tokenizer
from proxtune.tasks.classification.encoding import encode
from proxtune.tasks.classification.label_prompt import (
    append_question,
    can_hold_question,
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


def worded(processor, names=("<s>", "</s>")):
    """A tokenizer of words with that post-processor."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", *names, "a", "film", "Label", "(", "or", ")", ":", "story", "):"]
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer, backend.post_processor = Whitespace(), processor
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")


def processors():
    from tokenizers import processors as kinds

    both = [("<s>", 2), ("</s>", 3)]
    template = kinds.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=both
    )  # XLM's, Flaubert's, BART's
    return {
        "nothing": (None, [], []),
        "bytes": (kinds.ByteLevel(), [], []),
        "beginning": (
            kinds.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=both[:1]),
            [2],
            [2],
        ),
        "end": (kinds.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=both[1:]), [], [3]),
        "both": (template, [2], [3]),
        "BERT": (kinds.BertProcessing(("</s>", 3), ("<s>", 2)), [2], [3]),
        "RoBERTa": (kinds.RobertaProcessing(("</s>", 3), ("<s>", 2)), [2], [3, 3]),
        "a chain": (kinds.Sequence([kinds.ByteLevel(), template]), [2], [3]),
    }


@pytest.mark.parametrize("kind", processors())
def test_whatever_is_put_around_texts_the_question_comes_last(kind, tmp_path):
    processor, begins, between = processors()[kind]
    tokenizer, prompt = worded(processor), prompt_for(LABELS)
    question, film = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt.question, "a film"))
    append_question(tokenizer, prompt)
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neox"}')
    for own in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        single = own("a film", return_token_type_ids=True)
        assert single["input_ids"] == [*begins, *film, *question]
        assert set(single["token_type_ids"]) == {0}
        pair = own("a film", "a story", return_token_type_ids=True)
        assert pair["input_ids"] == [
            *begins,
            *film,
            *between,
            *own("a story", add_special_tokens=False)["input_ids"],
            *question,
        ]
        assert pair["token_type_ids"] == sorted(pair["token_type_ids"])


def test_a_token_may_be_spelled_like_a_part_of_a_template():
    from tokenizers.processors import TemplateProcessing

    odd = TemplateProcessing(
        single=["x", "$A"], pair=["x", "$A", "$B"], special_tokens=[{"id": "x", "ids": [2], "tokens": ["$:1"]}]
    )
    tokenizer = worded(odd, names=("$:1", "</s>"))
    append_question(tokenizer, prompt_for(LABELS))
    assert tokenizer("film")["input_ids"][:2] == [2, 5]


@pytest.mark.parametrize(
    "model_type", ["gpt_neox", "llama", "mpt", "olmo", "gpt2", "gemma", "phi3", "nemotron", "rwkv", "bloom"]
)
def test_the_question_comes_back_whatever_class_the_model_s_tokenizers_have(tiny_decoder, tmp_path, model_type):
    """GPT-NeoX's builds anew at each load what is put around a text."""
    tokenizer, _ = asking(tiny_decoder)
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    assert AutoTokenizer.from_pretrained(tmp_path)("the film")["input_ids"] == tokenizer("the film")["input_ids"]


def test_a_tokenizer_written_in_python_holds_no_question(tiny_decoder):
    from transformers import ByT5Tokenizer

    assert can_hold_question(load_tokenizer(tiny_decoder))
    assert not can_hold_question(ByT5Tokenizer())
