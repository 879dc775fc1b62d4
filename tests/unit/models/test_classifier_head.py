"""A classifier's own layer: kept for the same labels, in their order; else new, and drawn by the seed."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from proxtune.errors import UserError
from proxtune.models.classifier_head import head_notes, keeps_head, labels_before
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.tokenizer.loading import load_tokenizer


@pytest.fixture
def classifier(tiny_model, tmp_path):
    """Makes a folder with the tiny model as a classifier of those labels."""

    def make(labels, kind="BertForSequenceClassification", **config):
        import transformers

        folder = shutil.copytree(tiny_model, tmp_path / "-".join(labels))
        before = transformers.BertConfig.from_pretrained(tiny_model)
        before.id2label, before.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
        torch.manual_seed(7)
        getattr(transformers, kind)(before).save_pretrained(folder)
        return folder

    return make


def loaded(folder, labels, seed=0):
    return load_classifier(folder, classifier_config(folder, labels, load_tokenizer(folder), 16), seed)


def rows(folder):
    return load_file(folder / "model.safetensors")["classifier.weight"]


def test_a_base_model_has_no_layer_to_keep(tiny_model):
    assert labels_before(tiny_model) is None
    assert not head_notes(tiny_model, ["a", "b"])
    assert not keeps_head(tiny_model, ["a", "b"])


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "c", "d", "e", "f"]])
def test_a_layer_of_another_size_is_replaced_and_that_is_said(classifier, labels):
    folder = classifier(["one", "two", "three", "four", "five"])
    model = loaded(folder, labels)
    assert model.classifier.weight.shape == (len(labels), 32)
    (note,) = head_notes(folder, labels)
    assert "5 other classes (one, two, three, four, five)" in note
    assert "replaced by a new one" in note


def test_the_rest_of_such_a_model_is_loaded(classifier):
    folder = classifier(["one", "two", "three"])
    saved = load_file(folder / "model.safetensors")
    model = loaded(folder, ["a", "b"])
    for name, value in model.state_dict().items():
        assert name.startswith("classifier.") or torch.equal(value, saved[name])


def test_a_layer_of_the_same_size_and_other_labels_is_new_and_drawn_by_the_seed(classifier):
    folder = classifier(["one", "two"])
    first, again, other = (loaded(folder, ["a", "b"], seed).classifier.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.isclose(first, rows(folder)).any()
    assert "2 other classes (one, two)" in head_notes(folder, ["a", "b"])[0]


def test_the_same_labels_in_another_order_keep_their_rows(classifier):
    folder = classifier(["pos", "mixed", "neg"])
    model = loaded(folder, ["mixed", "neg", "pos"])
    assert torch.equal(model.classifier.weight, rows(folder)[[1, 2, 0]])
    (note,) = head_notes(folder, ["mixed", "neg", "pos"])
    assert "is kept, its rows put in the order of these labels" in note
    assert head_notes(folder, ["pos", "mixed", "neg"]) == (
        note.replace(", its rows put in the order of these labels", ""),
    )


def test_labels_without_names_are_other_labels(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["BertForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config))
    assert labels_before(folder) == ("LABEL_0", "LABEL_1")
    assert not keeps_head(folder, ["0", "1"])


def test_a_classifier_of_tokens_gives_its_layer_up(classifier):
    folder = classifier(["a", "b"], kind="BertForTokenClassification")
    assert not torch.isclose(loaded(folder, ["a", "b"]).classifier.weight, rows(folder)).any()


def test_other_weights_of_another_shape_are_refused_and_not_drawn_at_random(classifier):
    folder = classifier(["one", "two", "three"])
    saved = load_file(folder / "model.safetensors")
    name = next(name for name in saved if name.endswith("word_embeddings.weight"))
    saved[name] = saved[name][:-3].clone()
    save_file(saved, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"word_embeddings\.weight .* has the shape"):
        loaded(folder, ["a", "b"])
