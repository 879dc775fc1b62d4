"""A trained model used: predictions in order, an evaluation with its metrics, and mistakes told before torch is imported."""

import shutil
from pathlib import Path

import pytest

from proxtune.config.recipe import Recipe
from proxtune.errors import UserError
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.pipeline import predict as module
from proxtune.pipeline.jobs import PredictJob
from proxtune.pipeline.predict import predict
from proxtune.storage.atomic import write_json
from proxtune.storage.events import Prediction
from proxtune.storage.run_folder import write_recipe


@pytest.fixture(autouse=True)
def _gentle(monkeypatch):
    for name in ("set_allocator", "unload_cold_code"):  # they change the whole process for good
        monkeypatch.setattr(module, name, lambda *given: None)


@pytest.fixture
def run(tmp_path, tiny_model, tiny_reviews) -> Path:
    """The folder of a run whose classifier has learned nothing."""
    folder = tmp_path / "run"
    folder.mkdir()
    tokenizer = load_tokenizer(tiny_model)
    config = classifier_config(tiny_model, ["negative", "positive"], tokenizer, 32)
    load_classifier(tiny_model, config, 0).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    recipe = Recipe(data=str(tiny_reviews), out=str(folder), task="classify", model=str(tiny_model))
    write_recipe(recipe, folder / "recipe.toml")
    write_json(folder / "result.json", {"status": "done"})
    return folder


def test_each_text_has_a_prediction_in_its_place(run, tiny_texts):
    texts = tuple(sorted(tiny_texts[:5], key=len, reverse=True))  # computed from short to long
    heard = []
    found = predict(PredictJob(folder=run, texts=texts), heard.append, others_bytes=5)
    assert all(isinstance(event, Prediction) for event in heard)
    assert tuple(event.text for event in heard) == texts
    for event in heard:
        assert sum(event.probabilities) == pytest.approx(1, abs=1e-5)
        assert event.label == ("negative", "positive")[event.probabilities.index(max(event.probabilities))]
    assert found["rows"] == 5
    assert found["memory_bytes"] > 5
    assert "metrics" not in found
    alone = []
    predict(PredictJob(folder=run, texts=texts[2:3]), alone.append, others_bytes=0)
    assert alone[0].probabilities == pytest.approx(heard[2].probabilities, abs=1e-5)


def test_an_evaluation_scores_every_row_of_a_file_and_predicts_none(run, tiny_reviews):
    heard = []
    found = predict(PredictJob(folder=run, file=str(tiny_reviews), evaluate=True), heard.append, others_bytes=0)
    assert heard == []
    assert found["rows"] == 200
    (right, wrong), (other_wrong, other_right) = found["confusion"]
    assert right + wrong + other_wrong + other_right == 200
    assert found["metrics"]["accuracy"] == pytest.approx((right + other_right) / 200)
    assert found["labels"] == ["negative", "positive"]


def test_a_file_of_texts_needs_no_labels(run, tmp_path):
    (tmp_path / "new.csv").write_text("text\na fine film\na dull film\n")
    heard = []
    predict(PredictJob(folder=run, file=str(tmp_path / "new.csv")), heard.append, others_bytes=0)
    assert [event.text for event in heard if isinstance(event, Prediction)] == ["a fine film", "a dull film"]


def test_rows_without_a_text_keep_their_places(run, tmp_path):
    (tmp_path / "new.csv").write_text("id,text\n1,\n2,a fine film\n3, \n4,a dull film\n5,\n")
    heard = []
    predict(PredictJob(folder=run, file=str(tmp_path / "new.csv")), heard.append, others_bytes=0)
    said, predictions = heard[:2], heard[2:]
    assert [note.words for note in said] == [
        "text from column 'text' (guessed; --text-column to change)",
        "3 of 5 rows have no text (lines 2, 4, 6): their answers are left empty",
    ]
    assert [event.text for event in predictions] == ["", "a fine film", "", "a dull film", ""]
    assert [bool(event.label) for event in predictions] == [False, True, False, True, False]


def test_new_rows_are_read_and_cut_as_those_were_that_it_learned_from(run, tmp_path):
    facts = {"text_columns": ["v2"], "label_column": "v1", "max_length": 8}
    write_json(run / "result.json", {"status": "done", "data": facts})
    (tmp_path / "new.csv").write_text(
        "v2,notes\na fine film,a long remark that is not the text\n" + "word " * 30 + ",x\n"
    )
    heard = []
    found = predict(PredictJob(folder=run, file=str(tmp_path / "new.csv")), heard.append, others_bytes=0)
    assert found["truncated_rows"] == 1
    assert heard[0].words == "text from column 'v2', as the run learned it"
    assert heard[1].words == "1 texts were longer than 8 tokens and were cut there"
    assert heard[2].text == "a fine film"
    (tmp_path / "other.csv").write_text("text,notes\na fine film,b\n")
    with pytest.raises(UserError, match="no column 'v2', which the run learned from; there are 'text', 'notes'"):
        predict(PredictJob(folder=run, file=str(tmp_path / "other.csv")), heard.append, others_bytes=0)
    judged = tmp_path / "judged.csv"
    judged.write_text("v1,v2,notes\npositive,a fine film,b\nnegative,a dull film,c\n")
    evaluated = predict(PredictJob(folder=run, file=str(judged), evaluate=True), heard.append, others_bytes=0)
    assert evaluated["rows"] == 2
    assert evaluated["notes"] == ("text from column 'v2', as the run learned it",)


def test_a_mistake_is_told_before_torch_is_imported(run, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "import_lean", lambda: pytest.fail("imported first"))
    with pytest.raises(UserError, match="no such file"):
        predict(PredictJob(folder=run, file=str(tmp_path / "none.csv"), evaluate=True), print, others_bytes=0)


@pytest.mark.parametrize("spoil", ["link", "pickle"])
def test_a_model_that_was_made_to_do_harm_is_not_loaded(run, tmp_path, spoil):
    if spoil == "link":
        shutil.move(run / "model", tmp_path / "elsewhere")
        (run / "model").symlink_to(tmp_path / "elsewhere")
    else:
        (run / "model" / "model.safetensors").unlink()
        (run / "model" / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(UserError):
        predict(PredictJob(folder=run, texts=("a film",)), print, others_bytes=0)


def test_a_run_on_a_device_that_is_not_here_predicts_on_another(run):
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace('device = "auto"', 'device = "cuda"'))
    assert 'device = "cuda"' in (run / "recipe.toml").read_text()
    heard = []
    predict(PredictJob(folder=run, texts=("a film",)), heard.append, others_bytes=0)
    assert heard[0].label in ("negative", "positive")
