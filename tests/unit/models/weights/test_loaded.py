"""Weights of a folder: nothing is missing, of another shape or dropped without a word."""

import json
import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from proxtune.models.loading import classifier_config, generator_config, load_classifier, load_generator, loading_notes
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.models.weights.loaded import check_loaded
from proxtune.models.weights.unused import UnusedWeights
from support.files import refusal

WHOLE = {"missing_keys": set(), "mismatched_keys": set(), "unexpected_keys": set()}


def changed(folder: Path, to: Path, change) -> Path:
    """A copy of a model folder, each weight called what `change` says; left out where that is None."""
    shutil.copytree(folder, to)
    weights = {change(name): weight for name, weight in load_file(to / "model.safetensors").items()}
    weights.pop(None, None)
    save_file(weights, to / "model.safetensors", {"format": "pt"})
    return to


def classifier(folder: Path):
    return load_classifier(folder, classifier_config(folder, ["a", "b"], load_tokenizer(folder), 16), 0)


def generator(folder: Path):
    return load_generator(folder, generator_config(folder, load_tokenizer(folder), 16))


def test_a_layer_that_is_missing_is_named(tiny_folder, tmp_path):
    folder = changed(tiny_folder, tmp_path / "model", lambda name: None if "1." in name else name)
    words = refusal(classifier, folder)
    assert "1." in words
    assert "more: they would begin at random" in words


def test_weights_of_other_names_are_shown(tiny_decoder, tmp_path):
    folder = changed(tiny_decoder, tmp_path / "model", lambda name: f"other.{name}")
    assert "and have other." in refusal(generator, folder)
    assert "and have other." in refusal(classifier, folder)


def test_a_language_model_needs_its_head_and_a_classifier_does_not(tiny_decoder, tmp_path):
    folder = changed(tiny_decoder, tmp_path / "model", lambda name: None if name == "lm_head.weight" else name)
    assert "lack lm_head.weight: they would" in refusal(generator, folder)
    assert classifier(folder).score.out_features == 2


def test_a_layer_that_sums_rows_up_may_begin_anew_and_that_is_said(tiny_model, tmp_path):
    folder = changed(tiny_model, tmp_path / "model", lambda name: None if "pooler" in name else name)
    model = classifier(folder)
    assert model.classifier.out_features == 2
    (note,) = loading_notes(model)
    assert note == "the files lack layers before the classification layer (bert.pooler.dense): they begin at random"


def test_a_body_with_all_its_layers_is_loaded_without_a_word(tiny_model, tiny_decoder):
    assert loading_notes(classifier(tiny_model)) == loading_notes(generator(tiny_decoder)) == ()


def with_fewer_layers(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text()) | {"num_hidden_layers": 1}
    (to / "config.json").write_text(json.dumps(config))
    return to


def test_layers_that_the_config_does_not_count_are_not_dropped_in_silence(tiny_model, tiny_decoder, tmp_path):
    words = refusal(classifier, with_fewer_layers(tiny_model, tmp_path / "encoder"))
    assert re.search(r"have (bert\.)?encoder\.layer\.1, (bert\.)?encoder\.layer\.2, for which", words)
    assert "they would be dropped" in words
    assert "have model.layers.1, for which" in refusal(generator, with_fewer_layers(tiny_decoder, tmp_path / "decoder"))


def test_a_config_of_another_width_is_told_with_both_shapes(tiny_decoder, tmp_path):
    folder = shutil.copytree(tiny_decoder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    assert re.search(r"has the shape \(.*128.*\) where config.json says \(.*64.*\)", refusal(generator, folder))


def test_a_head_of_another_shape_is_drawn_anew_only_where_it_is_replaced(tmp_path):
    told = WHOLE | {"mismatched_keys": {("score.weight", (3, 8), (2, 8))}}
    check_loaded(told, tmp_path, new={"score.weight"}, of_other_shape={"score.weight"})
    assert "score.weight" in refusal(check_loaded, told, tmp_path, new={"score.weight"})


@pytest.mark.parametrize(
    ("wrapper", "inner"),
    [("module.", "model.module"), ("_orig_mod.", "model._orig_mod"), ("base_model.model.", "model.merge_and_unload()")],
)
def test_a_model_that_was_saved_within_another_is_to_be_saved_alone(tmp_path, wrapper, inner):
    told = {
        "mismatched_keys": [],
        "missing_keys": {"a.weight"},
        "unexpected_keys": {f"{wrapper}a.weight", f"{wrapper}b"},
    }
    words = refusal(check_loaded, told, tmp_path)
    assert f"begin with {wrapper!r}" in words
    assert f"({inner}.save_pretrained(FOLDER))" in words


def test_what_sums_rows_up_for_another_task_may_be_dropped_and_begins_anew(tmp_path):
    unused = UnusedWeights(dropped=("perceiver.decoder.decoding_cross_attention", "bert.pooler.norm"))
    check_loaded(WHOLE | {"missing_keys": {"perceiver.decoder.decoder.final_layer.weight"}}, tmp_path, unused=unused)
    body = UnusedWeights(dropped=("perceiver.encoder.cross_attention",))
    assert "perceiver.encoder.cross_attention" in refusal(lambda: check_loaded(WHOLE, tmp_path, unused=body))
