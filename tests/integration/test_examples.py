"""The example programs, run in processes of their own (a budget counts the process that asks) on a part of the sample."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.slow


def run_example(name: str, change: str, *arguments: str) -> str:
    """What `main(*arguments)` of an example prints, after `change` was made to its module."""
    script = (
        "import importlib.util, pathlib, sys\n"
        f"spec = importlib.util.spec_from_file_location({name!r}, {str(EXAMPLES / name)!r} + '.py')\n"
        "example = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(example)\n"
        f"{change}\n"
        "example.main(*sys.argv[1:2], *([sys.argv[2:]] if len(sys.argv) > 2 else []))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_is_tuned_and_used_with_transformers_alone(tiny_model, tiny_reviews, tmp_path):
    change = (
        f"import functools\nexample.movies_path = lambda part: pathlib.Path({str(tiny_reviews)!r})\n"
        f"example.tune = functools.partial(example.tune, model={str(tiny_model)!r}, method='full', epochs=1)"
    )
    said = run_example("tune_reviews", change, str(tmp_path / "run"))
    for words in ("plan: ", "test accuracy: ", "TF-IDF and logistic regression: ", "label of a new text: "):
        assert words in said
    label = said.rsplit("label of a new text: ", 1)[1].strip()
    said = run_example("plain_transformers", "", str(tmp_path / "run"), "a dull, lifeless film")
    assert said.startswith(f"{label}\t")


def test_translations_are_learned_and_scored_beside_the_base_model(tiny_chat, tmp_path):
    change = (
        f"import functools\nexample.MODEL = {str(tiny_chat)!r}\n"
        "example.tune = functools.partial(example.tune, method='full', epochs=1)"
    )
    said = run_example("tune_translations", change, str(tmp_path / "run"))
    for words in ("plan: ", "chrF on test rows, this model: ", "untouched: ", "copy_source: ", "a new text: "):
        assert words in said


def test_the_classifier_stands_in_a_pipeline(tiny_model, tmp_path):
    change = (
        "import functools\nexample.ROWS, folds = 60, example.cross_val_score\n"
        "from sklearn.model_selection import ShuffleSplit\n"
        "example.cross_val_score = lambda *given, cv: folds(*given, cv=ShuffleSplit(1, random_state=0))\n"
        f"example.TextClassifier = functools.partial(example.TextClassifier, model={str(tiny_model)!r}, method='full')"
    )
    said = run_example("sklearn_pipeline", change, str(tmp_path / "run"))
    assert "TextClassifier: accuracy " in said
    assert "TF-IDF: accuracy " in said
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_pictures_of_nno_are_drawn(tmp_path):
    said = run_example("nno_in_two_dimensions", "example.STEPS = 20", str(tmp_path))
    assert said.startswith("wrote nno-step.svg and nno-paths.svg")
    assert all((tmp_path / name).read_text().lstrip().startswith("<?xml") for name in ("nno-step.svg", "nno-paths.svg"))
