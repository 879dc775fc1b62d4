import gc
import inspect
import json
import pickle
import sys
from collections import Counter
from copy import deepcopy
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from proxtune import Budget, TextClassifier, UserError

TEXTS = ["a warm lovely film", "dull and cold", "lovely acting", "a dull script", "warm and funny", "cold, lazy, dull"]
LABELS = ["good", "bad", "good", "bad", "good", "bad"]


class BagOfWords:
    """Stands in for a Run: counts words, needs no torch, and keeps its model in the run folder as a real one does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts = json.loads((folder / "model" / "words.json").read_text())
        self.labels = list(self.counts)

    def predict_proba(self, texts: list[str]) -> list[list[float]]:
        words = len({word for bag in self.counts.values() for word in bag})
        logits = np.zeros((len(texts), len(self.labels)))
        for column, bag in enumerate(self.counts.values()):
            total = sum(bag.values()) + words
            for row, text in enumerate(texts):
                logits[row, column] = sum(np.log((bag.get(word, 0) + 1) / total) for word in text.split())
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (odds / odds.sum(axis=1, keepdims=True)).tolist()

    def predict(self, texts: list[str]) -> list[str]:
        return [self.labels[k] for k in np.argmax(self.predict_proba(texts), axis=1)]


class FakeRun(ModuleType):
    """Stands in for `proxtune.run`, and remembers how `tune` was called."""

    def __init__(self) -> None:
        super().__init__("proxtune.run")
        self.calls: list[dict] = []
        self.refuse: Exception | None = None

    def tune(self, data, **options) -> BagOfWords:
        self.calls.append({"data": Path(data), **options})
        if self.refuse is not None:
            raise self.refuse
        with Path(data).open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        self.calls[-1]["rows"] = rows
        # The other way round than scikit-learn sorts them: the columns must be put right.
        counts = {label: Counter() for label in sorted({row["label"] for row in rows}, reverse=True)}
        for row in rows:
            counts[row["label"]].update(row["text"].split())
        out = Path(options["out"])
        for name in ("model", "snapshots"):
            (out / name).mkdir(parents=True)
        (out / "model" / "words.json").write_text(json.dumps(counts))
        (out / "snapshots" / "1").write_text("large")
        return BagOfWords(out)

    def open_run(self, folder) -> BagOfWords:
        return BagOfWords(Path(folder))


@pytest.fixture(autouse=True)
def fake_run(request, monkeypatch):
    if "slow" in request.keywords:
        return None
    fake = FakeRun()
    monkeypatch.setitem(sys.modules, "proxtune.run", fake)
    return fake


# --- fit and predict


@pytest.mark.parametrize(
    "labels",
    [
        ["good", "bad"],
        [3, -1],
        [True, False],
        [0.0, 1.0],
        ["", " "],  # a file may lose these
        ["a\nb", "a\tb"],
        ["1", "01"],
    ],
)
@pytest.mark.parametrize("hold", [list, np.array, pd.Series])
def test_labels_come_back_in_their_own_type(labels, hold) -> None:
    y = hold([labels[label == "bad"] for label in LABELS])
    answers = TextClassifier().fit(TEXTS, y).predict(TEXTS)
    assert answers.tolist() == list(y)
    assert type(answers.tolist()[0]) is type(labels[0])


@pytest.mark.parametrize(
    "hold",
    [
        list,
        tuple,
        np.array,
        lambda t: np.array(t, dtype=object),
        pd.Series,
        lambda t: pd.Series(t, index=range(9, 3, -1)),
    ],
)
def test_texts_may_be_held_in_any_row(hold) -> None:
    model = TextClassifier().fit(hold(TEXTS), LABELS)
    assert model.predict(hold(TEXTS)).tolist() == LABELS
    assert model.score(hold(TEXTS), LABELS) == 1.0


def test_probabilities_stand_in_the_order_of_the_classes() -> None:
    model = TextClassifier().fit(TEXTS, LABELS)
    assert model.classes_.tolist() == ["bad", "good"]
    probabilities = model.predict_proba(["dull", "lovely"])
    assert probabilities.shape == (2, 2)
    assert probabilities.sum(axis=1) == pytest.approx([1, 1])
    assert probabilities.argmax(axis=1).tolist() == [0, 1]


def test_texts_reach_the_run_as_they_are(fake_run) -> None:
    texts = ['line\nbreak, "quotes"', "", "émoji 🎬", " spaces "]
    TextClassifier().fit(texts, ["a", "b", "a", "b"])
    assert [row["text"] for row in fake_run.calls[0]["rows"]] == texts


def test_how_tune_is_called(fake_run, tmp_path) -> None:
    model = TextClassifier(memory="1GB", time="10min", model="some/model", method="lora", seed=7, out=tmp_path / "run")
    model.fit(TEXTS, LABELS)
    (call,) = fake_run.calls
    call.pop("rows")
    assert not call.pop("data").exists()
    assert call == {
        "task": "classify",
        "model": "some/model",
        "method": "lora",
        "budget": Budget(memory="1GB", time="10min"),
        "seed": 7,
        "out": tmp_path / "run",
        "text_column": "text",
        "label_column": "label",
    }
    assert model.run_.folder == tmp_path / "run"


def test_short_forms_add_to_a_budget(fake_run) -> None:
    TextClassifier(Budget(size="10MB"), memory="1GB").fit(TEXTS, LABELS)
    assert fake_run.calls[0]["budget"] == Budget(size="10MB", memory="1GB")


def test_the_folder_goes_with_the_estimator(tmp_path) -> None:
    model = TextClassifier().fit(TEXTS, LABELS)
    first = model.run_.folder
    second = model.fit(TEXTS, LABELS).run_.folder
    assert second.exists()
    assert not first.exists()
    del model
    gc.collect()
    assert not second.exists()


def test_a_folder_of_the_persons_own_stays(tmp_path) -> None:
    TextClassifier(out=tmp_path / "run").fit(TEXTS, LABELS)
    gc.collect()
    assert (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("copy", [deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_outlives_the_original(copy) -> None:
    model = TextClassifier(memory="1GB").fit(TEXTS, LABELS)
    other = copy(model)
    assert not (other.run_.folder / "snapshots").exists()
    del model
    gc.collect()
    assert other.predict(TEXTS).tolist() == LABELS


# --- as scikit-learn uses it


def test_clone_and_parameters() -> None:
    budget = Budget(memory="1GB")
    model = TextClassifier(budget, method="probe").fit(TEXTS, LABELS)
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "run_")
    assert twin.set_params(seed=3).seed == 3
    assert "memory='2GB'" in repr(TextClassifier(memory="2GB"))
    assert list(model.get_params()) == sorted(inspect.signature(TextClassifier).parameters)


def test_pipelines_and_searches() -> None:
    texts, labels = TEXTS * 4, LABELS * 4
    assert cross_val_score(TextClassifier(), texts, labels, cv=2).tolist() == [1.0, 1.0]
    search = GridSearchCV(make_pipeline(TextClassifier()), {"textclassifier__method": ["probe", "lora"]}, cv=2)
    assert search.fit(texts, labels).score(texts, labels) == 1.0


def test_tags() -> None:
    tags = get_tags(TextClassifier())
    assert tags.input_tags.string
    assert tags.input_tags.one_d_array
    assert not tags.input_tags.two_d_array
    assert tags.target_tags.required
    assert is_classifier(TextClassifier())


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_not_fitted(method) -> None:
    with pytest.raises(NotFittedError):
        getattr(TextClassifier(), method)(TEXTS)


# --- wrong input


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ("a text", ["a"], "X is one text"),
        (b"bytes", ["a"], "X is one text"),
        ([], [], "a minimum of 1 is required"),
        (["a", 3], ["a", "b"], r"X\[1\] is 3, of type int"),
        (pd.Series(["a", None]), ["a", "b"], r"X\[1\] is .*, not a text"),
        ([["a"], ["b"]], ["a", "b"], r"X\[0\] is \['a'\], of type list"),
        (np.array([["a"], ["b"]]), ["a", "b"], r"X has the shape \(2, 1\)"),
        (pd.DataFrame({"text": ["a", "b"]}), ["a", "b"], r"X has the shape \(2, 1\)"),
        (["a", "b"], None, "requires y to be passed"),
        (["a", "b"], ["a"], "inconsistent numbers of samples"),
        (["a", "b"], ["a", "a"], "one class only"),
        (["a", "b"], [0.5, 1.5], "continuous"),
        (["a", "b"], [1.0, float("nan")], "NaN"),
        (["a", "b"], [[1, 2], [3, 4]], "1d array"),
    ],
)
def test_wrong_input_is_a_value_error(X, y, message, fake_run) -> None:
    with pytest.raises(ValueError, match=message):
        TextClassifier().fit(X, y)
    assert fake_run.calls == []


@pytest.mark.parametrize("X", ["a text", [], [None], np.array([["a"]])])
def test_wrong_input_to_predict_is_a_value_error(X) -> None:
    model = TextClassifier().fit(TEXTS, LABELS)
    for ask in (model.predict, model.predict_proba):
        with pytest.raises(ValueError, match="X"):
            ask(X)


def test_what_the_user_can_fix_is_a_value_error(fake_run) -> None:
    fake_run.refuse = UserError("nothing fits; the nearest plan needs --memory 700MB")
    with pytest.raises(ValueError, match="the nearest plan needs --memory 700MB") as caught:
        TextClassifier(memory="1MB").fit(TEXTS, LABELS)
    assert isinstance(caught.value.__cause__, UserError)
    assert not fake_run.calls[0]["data"].parent.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "lots"}, "--memory 'lots' is not an amount"),
        ({"budget": Budget(memory="1GB"), "memory": "2GB"}, "memory is given twice"),
    ],
)
def test_wrong_budgets_are_value_errors(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        TextClassifier(**options).fit(TEXTS, LABELS)


# --- scikit-learn's own checks
#
# They feed tables of numbers, so for a text estimator scikit-learn runs next to none. `NumbersAsTexts` writes each row
# of a table as a text and is TextClassifier in all else, so that its handling of labels, parameters, state and errors
# is checked. All of them pass; scikit-learn itself skips the one on array API input, which texts cannot be.


class NumbersAsTexts(TextClassifier):
    def _write(self, X, *, reset: bool) -> list[str]:
        table = validate_data(self, X, reset=reset)
        return [" ".join(f"x{k}={value:.0f}" for k, value in enumerate(row)) for row in table]

    def fit(self, X, y):
        return super().fit(self._write(X, reset=True), y)

    def predict(self, X):
        check_is_fitted(self)
        return super().predict(self._write(X, reset=False))

    def predict_proba(self, X):
        check_is_fitted(self)
        return super().predict_proba(self._write(X, reset=False))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = False
        tags.input_tags.two_d_array = True
        return tags


def test_scikit_learn_has_few_checks_for_texts() -> None:
    with pytest.warns(SkipTestWarning, match="Can't test estimator TextClassifier"):
        results = check_estimator(TextClassifier())
    assert {result["status"] for result in results} == {"passed"}


@parametrize_with_checks([NumbersAsTexts()])
def test_scikit_learns_checks(estimator, check) -> None:
    check(estimator)


# --- the real thing


@pytest.mark.slow
def test_a_real_model_learns_from_600_reviews() -> None:
    import csv

    from proxtune.samples import movies_path

    with Path(movies_path("train")).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:1000]
    texts, labels = [row["text"] for row in rows], [row["label"] for row in rows]
    # the probe: its head does not depend on how often a machine of this speed can evaluate
    model = TextClassifier(model="minilm", method="probe").fit(texts[:600], labels[:600])
    assert model.score(texts[600:], labels[600:]) > 0.55  # chance is 0.5, two deviations away
