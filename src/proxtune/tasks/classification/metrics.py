"""How good the answers are. Plain Python, so that a training process needs no scikit-learn for it."""

from __future__ import annotations

from collections.abc import Sequence


def confusion(true: Sequence[int], predicted: Sequence[int], classes: int) -> list[list[int]]:
    """Row i, column j counts the examples of class i that were called j.

    Raises ValueError for different lengths or an index outside 0 … classes - 1.
    """
    if len(true) != len(predicted):
        raise ValueError(f"{len(true)} true classes but {len(predicted)} predicted ones")
    table = [[0] * classes for _ in range(classes)]
    for i, j in zip(true, predicted, strict=True):
        if not (0 <= i < classes and 0 <= j < classes):
            raise ValueError(f"class {i if not 0 <= i < classes else j} is not one of {classes}")
        table[i][j] += 1
    return table


def score_classification(true: Sequence[int], predicted: Sequence[int], classes: int) -> dict[str, float]:
    """`accuracy` and `macro_f1`, each 0 to 1; as scikit-learn's, a class neither true nor predicted counts in no mean.

    Raises ValueError for no examples, different lengths or an index outside 0 … classes - 1.
    """
    if not len(true):
        raise ValueError("no examples to score")
    table = confusion(true, predicted, classes)
    called = [sum(column) for column in zip(*table, strict=True)]
    f1 = [
        2 * table[k][k] / (sum(table[k]) + called[k])  # 2·hits / (2·hits + misses + false alarms)
        for k in range(classes)
        if sum(table[k]) + called[k]
    ]
    hits = sum(table[k][k] for k in range(classes))
    return {"accuracy": hits / len(true), "macro_f1": sum(f1) / len(f1)}
