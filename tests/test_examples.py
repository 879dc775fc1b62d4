"""The example programs, run as they are on a small part of the sample."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
pytestmark = pytest.mark.slow


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_run_is_tuned_and_used_with_transformers_alone(tiny_reviews, tmp_path, capsys, monkeypatch):
    tune = example("tune_reviews")
    monkeypatch.setattr(tune, "movies_path", lambda part: tiny_reviews)
    tune.main(str(tmp_path / "run"))
    said = capsys.readouterr().out
    for words in ("plan: ", "test accuracy: ", "TF-IDF and logistic regression: ", "label of a new text: "):
        assert words in said
    label = said.rsplit("label of a new text: ", 1)[1].strip()
    example("plain_transformers").main(str(tmp_path / "run"), ["a dull, lifeless film"])
    assert capsys.readouterr().out.startswith(f"{label}\t")


def test_the_classifier_stands_in_a_pipeline(tmp_path, capsys, monkeypatch):
    pipeline = example("sklearn_pipeline")
    monkeypatch.setattr(pipeline, "ROWS", 90)
    pipeline.main(str(tmp_path / "run"))
    said = capsys.readouterr().out
    assert "TextClassifier: accuracy " in said
    assert "TF-IDF: accuracy " in said
    assert (tmp_path / "run" / "report.html").is_file()
