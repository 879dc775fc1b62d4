"""How good the answers are. Plain Python, so that a training process needs no scikit-learn for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

_LARGEST_MATRIX = 100  # classes; a matrix of thousands is hundreds of megabytes of zeros
_MOST_CONFUSED = 200


def confusion(true: Sequence[int], predicted: Sequence[int], classes: int) -> list[list[int]]:
    """Row i, column j counts the examples of class i that were called j.

    Raises ValueError for different lengths or an index outside 0 … classes - 1.
    """
    _check_classes(true, predicted, classes)
    table = [[0] * classes for _ in range(classes)]
    for i, j in zip(true, predicted, strict=True):
        table[i][j] += 1
    return table


def score_classification(true: Sequence[int], predicted: Sequence[int], classes: int) -> dict[str, float]:
    """`accuracy` and `macro_f1`, each 0 to 1; as scikit-learn's, a class neither true nor predicted counts in no mean.

    Raises ValueError for no examples, different lengths or an index outside 0 … classes - 1.
    """
    if not len(true):
        raise ValueError("no examples to score")
    _check_classes(true, predicted, classes)
    held, called = Counter(true), Counter(predicted)
    right = Counter(i for i, j in zip(true, predicted, strict=True) if i == j)
    f1 = [
        2 * right[k] / (held[k] + called[k])  # 2·hits / (2·hits + misses + false alarms)
        for k in range(classes)
        if held[k] + called[k]
    ]
    return {"accuracy": right.total() / len(true), "macro_f1": sum(f1) / len(f1)}


def confusion_facts(true: Sequence[int], predicted: Sequence[int], classes: int) -> dict[str, list[list[int]]]:
    """What a result holds of the mistakes: the `confusion` matrix, or of many classes the commonest as `confused`.

    Those are (class, what it was called, how often), at most 200 of them.
    """
    if classes <= _LARGEST_MATRIX:
        return {"confusion": confusion(true, predicted, classes)}
    wrong = Counter((i, j) for i, j in zip(true, predicted, strict=True) if i != j)
    return {"confused": [[i, j, count] for (i, j), count in wrong.most_common(_MOST_CONFUSED)]}


def _check_classes(true: Sequence[int], predicted: Sequence[int], classes: int) -> None:
    if len(true) != len(predicted):
        raise ValueError(f"{len(true)} true classes but {len(predicted)} predicted ones")
    for k in (*true, *predicted):
        if not 0 <= k < classes:
            raise ValueError(f"class {k} is not one of {classes}")
