"""The public face: what `tune` asks for as a recipe, and what a `Run` says of its folder."""

import shutil
from pathlib import Path

import pytest

from proxtune import run as module
from proxtune.config.budget import Budget
from proxtune.config.recipe import Knobs, Recipe
from proxtune.errors import UserError
from proxtune.run import Run, open_run, tune
from proxtune.storage.events import Prediction
from support.reports import ANSWERS_RUN, LABELS_RUN


@pytest.fixture
def asked(monkeypatch):
    """The recipes and listeners that training was asked for."""
    given = []
    monkeypatch.setattr(module, "train", lambda recipe, listen: given.append((recipe, listen)) or {"status": "done"})
    return given


def test_what_is_not_said_is_left_to_the_task_and_the_planner(asked):
    run = tune("a.csv", out="runs/a")
    assert run == Run(folder=Path("runs/a"), result={"status": "done"})
    assert asked == [(Recipe(data="a.csv", out="runs/a", model=""), None)]


def test_everything_that_is_said_is_in_the_recipe(asked):
    tune(
        Path("a.csv"), out=Path("runs/a"), budget=Budget(memory="1GB"), task="translate", model="smollm2", method="lora", seed=3,
        validation=Path("b.csv"), text_column="en", label_column="fr", bad_rows="skip", instruction="Translate.", listen=print,
        rank=4, keep_adapter=True,
    )  # fmt: skip
    ((recipe, listen),) = asked
    assert recipe == Recipe(
        data="a.csv", out="runs/a", budget=Budget(memory="1GB"), task="translate", model="smollm2", method="lora", seed=3,
        validation="b.csv", text_column="en", label_column="fr", bad_rows="skip", instruction="Translate.",
        knobs=Knobs(rank=4, keep_adapter=True),
    )  # fmt: skip
    assert listen is print


def test_a_knob_that_there_is_not_is_an_error(asked):
    with pytest.raises(TypeError, match="colour"):
        tune("a.csv", out="runs/a", colour="red")
    assert asked == []


def test_a_finished_run_is_opened_from_its_folder(tmp_path):
    shutil.copytree(LABELS_RUN, tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.result["status"] == "done"
    assert run.labels == run.result["data"]["labels"]
    with pytest.raises(UserError, match="not a finished run"):
        open_run(tmp_path)


def test_labels_and_probabilities_or_answers_are_predicted(monkeypatch):
    said = {
        LABELS_RUN: [
            Prediction(text="a", label="x", probabilities=(0.75, 0.25)),
            Prediction(text="b", label="y", probabilities=(0.5, 0.5)),
        ],
        ANSWERS_RUN: [Prediction(text="a", answer="one"), Prediction(text="b", answer="")],
    }
    monkeypatch.setattr(module, "predictions", lambda folder, texts: said[folder] if texts == ["a", "b"] else [])
    labels, answers = open_run(LABELS_RUN), open_run(ANSWERS_RUN)
    assert labels.predict(["a", "b"]) == ["x", "y"]
    assert labels.predict_proba(["a", "b"]) == [[0.75, 0.25], [0.5, 0.5]]
    assert answers.predict(["a", "b"]) == ["one", ""]


def test_an_evaluation_is_of_a_file_by_its_name(monkeypatch):
    monkeypatch.setattr(module, "evaluate", lambda folder, data: {"folder": folder, "data": data})
    assert open_run(LABELS_RUN).evaluate(Path("test.csv")) == {"folder": LABELS_RUN, "data": "test.csv"}
