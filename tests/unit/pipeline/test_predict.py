"""A trained model used: predictions in order, an evaluation with its metrics, and mistakes told before torch is imported."""

import shutil
from pathlib import Path

import pytest

from proxtune.config.recipe import Recipe
from proxtune.errors import UserError
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.tokenizer import load_tokenizer
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
    assert [event.text for event in heard] == ["a fine film", "a dull film"]


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
