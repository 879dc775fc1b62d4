"""Inside a model: its head and its blocks."""

import pytest

from proxtune.models.introspection import blocks_of, head_of
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.tokenizer import load_tokenizer


def test_head_and_blocks_are_found(tiny_model, tiny_decoder):
    for folder, head, blocks, count in (
        (tiny_model, "classifier", "bert.encoder.layer", 3),
        (tiny_decoder, "score", "model.layers", 2),
    ):
        model = load_classifier(folder, classifier_config(folder, ["a", "b", "c"], load_tokenizer(folder), 16), 0)
        assert head_of(model)[0] == head
        assert head_of(model)[1].out_features == 3
        name, found = blocks_of(model)
        assert (name, len(found)) == (blocks, count)


@pytest.mark.parametrize("classes", [2, 32, 128])
def test_the_head_is_the_last_layer_even_when_others_are_as_wide(tiny_folder, classes):
    labels = [f"label {i}" for i in range(classes)]
    model = load_classifier(tiny_folder, classifier_config(tiny_folder, labels, load_tokenizer(tiny_folder), 16), 0)
    assert head_of(model)[0] in ("classifier", "score")
