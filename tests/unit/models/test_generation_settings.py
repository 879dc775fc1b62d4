"""What a base model's makers set for generation shapes nothing of what was learned, and is not handed on."""

import json
import shutil

import pytest
from transformers import GenerationConfig

from proxtune.models.generation_settings import answers_plainly, generate_plainly, left_over_notes, left_over_settings
from proxtune.models.loading import generator_config, load_generator
from proxtune.models.tokenizer.loading import load_tokenizer

NEWS = {
    "min_length": 56, "max_length": 142, "no_repeat_ngram_size": 3, "length_penalty": 2.0, "num_beams": 4, "early_stopping": True,
    "forced_bos_token_id": 0, "repetition_penalty": 1.2, "suppress_tokens": [5], "bad_words_ids": [[7]], "temperature": 0.7,
}  # fmt: skip
SHAPING = NEWS.keys() - {"max_length", "temperature"}


@pytest.fixture
def news(tiny_t5, tmp_path):
    folder = shutil.copytree(tiny_t5, tmp_path / "model")
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | NEWS))
    return folder


def test_what_would_shape_answers_is_found_and_said(news, tiny_t5, tiny_chat):
    assert left_over_settings(news).keys() == SHAPING
    (note,) = left_over_notes(news)
    assert "min_length=56" in note
    assert "num_beams=4" in note
    assert left_over_notes(tiny_t5) == left_over_notes(tiny_chat) == ()


def test_what_older_models_have_in_their_config_is_found(tiny_t5, tmp_path):
    folder = shutil.copytree(tiny_t5, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {
        "num_beams": 6, "min_length": 0, "length_penalty": 1.0, "num_beam_groups": 1, "no_repeat_ngram_size": 1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    assert left_over_settings(folder) == {"num_beams": 6, "no_repeat_ngram_size": 1}, "no token twice"


def test_none_of_it_stays_with_the_model(news, tmp_path):
    config = generator_config(news, load_tokenizer(news), 16)
    config.task_specific_params = {"summarization": {"num_beams": 4}}
    model = load_generator(news, config)
    before = model.generation_config
    generate_plainly(model, config)
    left = model.generation_config.to_diff_dict()
    assert not SHAPING & left.keys()
    assert (model.generation_config.eos_token_id, left["decoder_start_token_id"]) == (before.eos_token_id, 0)
    model.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert not {key for key in SHAPING if saved.get(key) is not None}
    assert "task_specific_params" not in json.loads((tmp_path / "saved" / "config.json").read_text())


def test_a_language_s_token_is_forced(tiny_t5):
    config = generator_config(tiny_t5, load_tokenizer(tiny_t5), 16)
    model = load_generator(tiny_t5, config)
    generate_plainly(model, config, forced_bos_token_id=7)
    import torch

    made = model.generate(torch.tensor([[8, 9, 1]]), max_new_tokens=3)
    assert made[0, 1] == 7


def test_a_config_of_its_own_wishes_does_not_answer_plainly(news, tiny_t5):
    assert not answers_plainly(GenerationConfig.from_pretrained(news))
    assert answers_plainly(GenerationConfig(do_sample=False, max_new_tokens=9, eos_token_id=[1, 2], pad_token_id=0))
