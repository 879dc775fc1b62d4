"""Classification as a task: what it asks of a recipe, reads, says of its results and predicts. `check_task` tries the rest."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from proxtune.config.recipe import Knobs, Recipe
from proxtune.data.examples import Examples
from proxtune.storage.events import Prediction
from proxtune.tasks.base import BaselineRequest, ModelAtHand
from proxtune.tasks.classification.task import CLASSIFY, TrainedClassifier
from support.files import Write, refusal

ROWS = "text,label\n" + "".join(f"a {word} film {n},{word}\n" for n in range(10) for word in ("good", "bad"))
TEXTS = Examples(["a", "b", "c"], ["x", "y", "y"], "a.csv", [2, 3, 5], "text", "label")


@pytest.fixture
def recipe(write: Write) -> Recipe:
    return Recipe(data=str(write("rows.csv", ROWS)), out="")


def test_codes_under_adapters_are_for_text(recipe: Recipe) -> None:
    CLASSIFY.check(recipe)
    message = refusal(CLASSIFY.check, Recipe(data="a.csv", out="", knobs=Knobs(base_dtype="int8")))
    assert message == "--base-dtype is for tasks that generate text; leave it out"


def test_validation_rows_are_those_of_a_file_of_the_folder_or_drawn(recipe: Recipe, write: Write) -> None:
    assert len(CLASSIFY.read(recipe).validation) == 2
    file = write("v.csv", "text,label\nv,good\n")
    assert CLASSIFY.read(Recipe(data=recipe.data, out="", validation=str(file))).validation.texts == ["v"]
    write("folder/train.csv", ROWS)
    dev = write("folder/dev.csv", "text,label\nd,bad\n")
    assert CLASSIFY.read(Recipe(data=str(dev.parent), out="")).validation.texts == ["d"]


def test_a_folder_is_scored_on_its_test_split(recipe: Recipe, write: Write) -> None:
    folder = write("folder/train.csv", ROWS).parent
    write("folder/test.csv", "text,label\nt,bad\n")
    assert CLASSIFY.read_evaluation(recipe, str(folder)).texts == ["t"]
    assert len(CLASSIFY.read_evaluation(recipe, recipe.data)) == 20


def test_texts_to_predict_come_without_labels(recipe: Recipe) -> None:
    typed = CLASSIFY.read_inputs(recipe, ["one", "two"], None)
    assert (typed.texts, typed.lines, typed.label_column) == (["one", "two"], [1, 2], None)
    read = CLASSIFY.read_inputs(recipe, [], recipe.data)
    assert (len(read), read.labels, read.label_column) == (20, [], None)
    both = CLASSIFY.read_inputs(recipe, ["one"], recipe.data)
    assert (len(both), both.texts[:20], both.texts[20]) == (21, read.texts, "one")


def test_the_most_confident_mistakes_come_first() -> None:
    logits = np.log(np.array([[0.4, 0.6], [0.9, 0.1], [0.2, 0.8]]))
    data = SimpleNamespace(
        labels=("x", "y"),
        validation=SimpleNamespace(labels=np.array([0, 1, 1])),
        split=SimpleNamespace(validation=TEXTS),
    )
    found = CLASSIFY.results(ModelAtHand(model=None, plan=None, data=data, governor=None), logits, None)
    assert found["confusion"] == [[0, 1], [1, 1]]
    assert [(wrong["text"], wrong["label"], wrong["predicted"], wrong["line"]) for wrong in found["mistakes"]] == [
        ("b", "y", "x", 3),
        ("a", "x", "y", 2),
    ]
    assert [wrong["confidence"] for wrong in found["mistakes"]] == [0.9, 0.6]


def test_each_text_is_predicted_with_the_probability_of_each_class() -> None:
    trained, told = TrainedClassifier(model=None, rows=None, pad_id=0, labels=("x", "y")), []
    logits = np.log(np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 1e-9]]))
    CLASSIFY.predict(trained, TEXTS, None, 8, lambda: logits, told.append)
    assert [event.text for event in told] == TEXTS.texts
    assert [event.label for event in told] == ["y", "x", "x"]
    assert told[0].probabilities == pytest.approx((0.25, 0.75))
    assert all(isinstance(event, Prediction) for event in told)


def test_without_texts_the_model_is_not_asked() -> None:
    trained = TrainedClassifier(model=None, rows=None, pad_id=0, labels=("x",))
    nothing = Examples([], [], "a.csv", [], "text", None)
    CLASSIFY.predict(trained, nothing, None, 8, lambda: 1 / 0, lambda event: None)


def test_baselines_of_a_file_need_the_training_rows(recipe: Recipe, write: Write) -> None:
    test = str(write("t.csv", "text,label\na good film,good\na bad film,bad\n"))
    scores = CLASSIFY.baselines(recipe, BaselineRequest(file=test))["baselines"]
    assert scores["tfidf"]["accuracy"] == 1.0
    gone = CLASSIFY.baselines(Recipe(data="gone.csv", out=""), BaselineRequest(file=test))
    assert gone["baselines"] == {}
    assert gone["note"].startswith("no baselines: gone.csv: no such file")


def test_what_a_decoder_is_asked_is_told(recipe: Recipe, tiny_folder) -> None:
    data = CLASSIFY.encode(recipe, CLASSIFY.read(recipe), tiny_folder)
    notes = CLASSIFY.describe(data)["notes"]
    assert data.knows_labels == (data.prompt is not None) == any("each text is followed by" in note for note in notes)
    assert data.labels == ("bad", "good")
    assert data.max_length % 8 == 0


@pytest.mark.parametrize(("names", "knows"), [(["good", "bad"], True), (["fine", "poor"], False)])
def test_a_classifier_of_these_labels_knows_something_of_them(
    recipe: Recipe, tmp_path: Path, tiny_model: Path, names: list[str], knows: bool
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "classifier")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["BertForSequenceClassification"]}
    named = {"id2label": dict(enumerate(names)), "label2id": {name: place for place, name in enumerate(names)}}
    (folder / "config.json").write_text(json.dumps(config | named))
    assert CLASSIFY.encode(recipe, CLASSIFY.read(recipe), folder).knows_labels == knows


def test_a_decoder_whose_tokenizer_takes_no_question_is_told_of(recipe: Recipe, tmp_path: Path) -> None:
    from transformers import CTRLConfig

    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<unk>", *letters, *(f"{letter}@@" for letter in letters)]
    (tmp_path / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CTRLTokenizer"}))
    CTRLConfig(vocab_size=len(words), architectures=["CTRLLMHeadModel"], n_layer=1).save_pretrained(tmp_path)
    data = CLASSIFY.encode(recipe, CLASSIFY.read(recipe), tmp_path)
    assert data.prompt is None
    assert any("no question follows the texts" in note for note in data.notes)


def test_files_of_another_kind_are_named_for_training_validation_and_prediction(recipe: Recipe, write: Write) -> None:
    sheet = str(write("sheet.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99)))
    says = f"{sheet}: it is an Office file (.xls or .doc); open it and save the sheet"
    assert refusal(CLASSIFY.read, replace(recipe, data=sheet)).startswith(says)
    assert refusal(CLASSIFY.read, replace(recipe, validation=sheet)).startswith(says)
    learned = replace(recipe, text_column="text", label_column="label")
    assert refusal(CLASSIFY.read_inputs, learned, (), sheet).startswith(says)
    assert refusal(CLASSIFY.read_evaluation, learned, sheet).startswith(says)


def test_the_saved_tokenizer_cuts_at_what_the_model_takes(recipe: Recipe, tiny_model, tmp_path) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    path = tmp_path / "model" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 10**30}))
    for most in (None, 8):  # what a run was asked for is no limit of the model's
        asking = replace(recipe, knobs=Knobs(max_length=most))
        tokenizer = CLASSIFY.encode(asking, CLASSIFY.read(recipe), tmp_path / "model").tokenizer
        tokenizer.save_pretrained(tmp_path)
        assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 64
        assert len(tokenizer("good film " * 100, truncation=True)["input_ids"]) == 64
