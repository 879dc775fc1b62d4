import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from proxtune.tasks.classification.metrics import confusion, confusion_facts, score_classification


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
    classes = draw(st.integers(1, 6))
    pairs = draw(st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=60))
    true, predicted = zip(*pairs, strict=True)
    return list(true), list(predicted), classes


@given(answers())
def test_scores_are_those_of_scikit_learn(case: tuple[list[int], list[int], int]) -> None:
    true, predicted, classes = case
    scores = score_classification(true, predicted, classes)
    assert scores == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(true, predicted),
            "macro_f1": metrics.f1_score(true, predicted, average="macro", zero_division=0),
        },
        abs=1e-12,
    )


@given(answers())
def test_confusion_is_that_of_scikit_learn(case: tuple[list[int], list[int], int]) -> None:
    true, predicted, classes = case
    # Not sklearn's own default labels, which leave out the classes that do not occur; one class alone makes it warn.
    expected = [[0] * classes for _ in range(classes)]
    if classes > 1:
        expected = metrics.confusion_matrix(true, predicted, labels=range(classes)).tolist()
    else:
        expected[0][0] = len(true)
    assert confusion(true, predicted, classes) == expected


def test_all_right_and_all_wrong() -> None:
    assert score_classification([0, 1, 2], [0, 1, 2], 3) == {"accuracy": 1.0, "macro_f1": 1.0}
    assert score_classification([0, 1], [1, 0], 2) == {"accuracy": 0.0, "macro_f1": 0.0}


def test_a_row_is_the_truth_and_a_column_the_answer() -> None:
    assert confusion([0, 0, 1], [0, 1, 1], 2) == [[1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ([], [], "no examples"),
        ([0, 1], [0], "2 true classes but 1"),
        ([0, 2], [0, 0], "class 2 is not one of 2"),
        ([0, 0], [0, -1], "class -1 is not one of 2"),
    ],
)
def test_wrong_input_is_refused(true: list[int], predicted: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_classification(true, predicted, 2)


@pytest.mark.parametrize(
    "module",
    [
        "proxtune",
        "proxtune.tasks.classification.metrics",
        "proxtune.config.budget",
        "proxtune.tasks.classification.baselines",
    ],
)
def test_importing_brings_no_heavy_library(module: str) -> None:
    code = (
        f"import sys, {module}; print([m for m in ('torch', 'sklearn', 'numpy', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_of_many_classes_only_the_commonest_mistakes_are_kept():
    assert confusion_facts([0, 1], [0, 0], 2) == {"confusion": [[1, 0], [1, 0]]}
    true, predicted = [7, 7, 8, 9, 2999], [8, 8, 8, 7, 2999]
    assert confusion_facts(true, predicted, 3000) == {"confused": [[7, 8, 2], [9, 7, 1]]}
    assert score_classification(true, predicted, 3000)["accuracy"] == 0.4
