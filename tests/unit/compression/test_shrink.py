"""Beginning smaller: what stays says what it said before, texts still tokenise, and what does not fit is refused."""

from dataclasses import replace

import pytest
import torch

from proxtune.compression.shrink import remove_smaller_model, shrink_model
from proxtune.config.recipe import Recipe
from proxtune.data.split import select_examples
from proxtune.errors import UserError
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.source import ModelSource
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.tasks.classification.task import CLASSIFY

LABELS = ["negative", "positive"]


@pytest.fixture
def split(tiny_reviews):
    return CLASSIFY.read(Recipe(data=str(tiny_reviews), out=""))


def begun(source, split, size, folder):
    return shrink_model(ModelSource("tiny", source, "tiny"), split, size, folder)


def load_config(folder):
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder)


def said(folder, texts):
    tokenizer = load_tokenizer(folder)
    config = classifier_config(folder, LABELS, tokenizer, 64)
    model = load_classifier(folder, config, 0).eval()
    with torch.no_grad():
        return model.base_model(**tokenizer(texts, return_tensors="pt", padding=True)).last_hidden_state


def test_a_model_that_fits_is_begun_with_as_it_is(tiny_folder, split, tmp_path):
    source, structure = begun(tiny_folder, split, 10_000_000, tmp_path)
    assert structure is None
    assert source.folder == tiny_folder
    assert not list(tmp_path.iterdir())


def test_with_the_rows_that_texts_use_a_model_says_what_it_said(tiny_folder, split, tmp_path):
    few = replace(
        split, train=select_examples(split.train, range(20)), validation=select_examples(split.validation, range(5))
    )
    sizes = iter(range(130_000, 20_000, -2_000))
    source, structure = begun(tiny_folder, few, next(sizes), tmp_path)
    while structure is None or structure.vocabulary == 1000:
        remove_smaller_model(tmp_path)
        source, structure = begun(tiny_folder, few, size := next(sizes), tmp_path)
    tokenizer, before = load_tokenizer(source.folder), load_tokenizer(tiny_folder)
    assert len(tokenizer) == structure.vocabulary < len(before)
    assert structure.blocks == load_config(tiny_folder).num_hidden_layers
    assert torch.equal(said(source.folder, few.train.texts), said(tiny_folder, few.train.texts))
    assert tokenizer(split.train.texts[50:])["input_ids"]  # what was never seen has a token too
    assert begun(tiny_folder, few, size, tmp_path) == (source, structure)  # another process of the run


def test_blocks_go_last_and_the_model_is_a_plain_one_still(tiny_folder, split, tmp_path):
    source, structure = begun(tiny_folder, split, 16_000, tmp_path)
    assert structure.blocks == load_config(source.folder).num_hidden_layers == 1
    assert torch.isfinite(said(source.folder, split.train.texts[:3])).all()


def test_too_few_bytes_are_refused_with_the_least_that_would_do(tiny_folder, split, tmp_path):
    with pytest.raises(UserError, match=r"the smallest that could work with this model is --size \d+KB"):
        begun(tiny_folder, split, 1_000, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["no json", "[]", "{}", '{"bits": 1}', '{"size_bytes": "x", "bits": 4, "group": 1, "vocabulary": 1, "blocks": 1}'],
)
def test_a_damaged_structure_is_refused(tiny_folder, split, tmp_path, text):
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "structure.json").write_text(text)
    with pytest.raises(UserError, match="train again into another folder"):
        begun(tiny_folder, split, 50_000, tmp_path)
