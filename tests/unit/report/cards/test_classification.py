"""The model card's part on a model that tells classes apart."""

import pytest

from proxtune.report.cards.classification import CARD
from support.reports import LABELS


def test_the_opening_names_the_labels_and_at_most_twenty():
    assert CARD.opening(LABELS).endswith("(method `lora`). Its labels are negative, positive.\n")
    many = CARD.opening({"data": {"labels": [f"label{i}" for i in range(25)]}})
    assert many.endswith("label19 and 5 more.\n")
    assert "label20" not in many


def test_the_snippet_is_python_and_truncates_as_in_training():
    code = CARD.usage(LABELS).split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert "max_length=128" in code
    assert 'pipeline("text-classification"' in code


@pytest.mark.parametrize(
    ("encodes", "kind", "tag"),
    [(False, "CausalLM", "text-generation"), (True, "Seq2SeqLM", "text2text-generation")],
)
def test_a_model_that_answers_by_words_is_used_as_the_language_model_that_it_is(encodes, kind, tag):
    told = LABELS | {"data": {"max_length": 64, "label_token_ids": [7, 9], "is_encoder_decoder": encodes}}
    code = CARD.usage(told).split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert f"AutoModelFor{kind}.from_pretrained(folder)" in code
    assert "max_length=64" in code
    assert "label_token_ids" in code
    assert (CARD.pipeline_tag(told), CARD.pipeline_tag(LABELS)) == (tag, "text-classification")


def test_a_model_of_codes_says_what_it_takes_to_load_it():
    assert "compressed-tensors" in CARD.usage(LABELS | {"size": {"bits": 4}})
    assert "compressed-tensors" not in CARD.usage(LABELS)


def test_the_results_are_beside_the_baselines_here_and_on_other_files():
    told = CARD.results(LABELS)
    for words in ("| this model, validation rows | 86.1 % |", "| this model, test.csv | 85.7 %",
                  "| word counts (TF-IDF), validation rows | 76.7 %",
                  "| always the most common label, test.csv | 50.0 %"):  # fmt: skip
        assert words in told


def test_the_limits_name_the_longest_text_where_it_is_known():
    assert "at most 128 tokens" in CARD.limits(LABELS)
    assert "tokens" not in CARD.limits({})
