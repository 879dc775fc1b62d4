"""The demo: a folder that is free, the bundled reviews, and figures on rows that training did not see."""

from pathlib import Path

import proxtune.demo
from proxtune.config.budget import Budget
from proxtune.demo import free_folder, run_demo
from proxtune.samples import movies_path


def test_a_folder_that_is_taken_is_left_alone(tmp_path):
    wanted = str(tmp_path / "demo")
    assert free_folder(wanted) == wanted
    for taken in ("demo", "demo-2"):
        (tmp_path / taken).mkdir()
    assert free_folder(wanted) == f"{wanted}-3"


def test_the_model_is_trained_on_train_rows_and_evaluated_on_test_rows(tmp_path, monkeypatch, capsys):
    asked = {}

    def train(recipe, listen, started):
        asked["train"] = recipe
        return {"status": "done"}

    def evaluate(folder, data):
        asked["test"] = (folder, data)
        return {"rows": 800}

    for name, fake in {"train": train, "evaluate": evaluate}.items():
        monkeypatch.setattr(proxtune.demo, name, fake)
    for name in ("show_result", "show_evaluation"):
        monkeypatch.setattr(proxtune.demo, name, lambda *given: None)
    out, budget = str(tmp_path / "demo"), Budget(memory="700MB")
    assert run_demo(out, budget, 0.0) == {"status": "done", "test": {"rows": 800}}
    assert (asked["train"].data, asked["train"].budget) == (str(movies_path("train")), budget)
    assert asked["test"] == (out, str(movies_path("test")))
    assert f"report: {Path(out).resolve() / 'report.html'}" in capsys.readouterr().err
