"""The end of a text, for classifiers that look for one."""

from types import SimpleNamespace

import pytest

from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.tasks.classification.row_end import append_end, needs_end

ENDS = SimpleNamespace(is_encoder_decoder=True, eos_token_id=1)


def test_a_tokenizer_that_ends_texts_is_left_alone(tiny_model):
    tokenizer = load_tokenizer(tiny_model)  # [CLS] … [SEP]
    assert not needs_end(tokenizer, SimpleNamespace(is_encoder_decoder=True, eos_token_id=tokenizer.sep_token_id))
    assert not needs_end(tokenizer, SimpleNamespace(is_encoder_decoder=False, eos_token_id=1))
    assert not needs_end(tokenizer, SimpleNamespace(is_encoder_decoder=True, eos_token_id=None))


@pytest.mark.parametrize("begins", [False, True])
def test_an_end_is_put_behind_every_text_and_saved(tiny_decoder, tmp_path, begins):
    from tokenizers.processors import ByteLevel, TemplateProcessing

    tokenizer = load_tokenizer(tiny_decoder)
    begin = TemplateProcessing(single="#b $A", pair="#b $A $B", special_tokens=[("#b", 7)])
    tokenizer.backend_tokenizer.post_processor = begin if begins else ByteLevel(trim_offsets=False)
    assert needs_end(tokenizer, ENDS)
    plain = tokenizer("a fine film")["input_ids"]
    append_end(tokenizer, ENDS)
    assert tokenizer("a fine film")["input_ids"] == [*plain, 1]
    assert tokenizer("a fine film", truncation=True, max_length=3)["input_ids"][-1] == 1
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path)("a fine film")["input_ids"] == [*plain, 1]
    assert not needs_end(tokenizer, ENDS)
