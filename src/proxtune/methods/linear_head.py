"""The probe's head: multinomial logistic regression by scikit-learn, in a process that never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from proxtune.storage.atomic import write_atomic

FEATURES, HEAD = "features.npz", "head.npz"


def fit_head(folder: Path) -> None:
    """Fit the head on `features.npz` (train, labels, held, held_labels) in `folder`; writes `head.npz` (weight, bias).

    Standardised features, multinomial logistic regression; the strength of its penalty is chosen on held-out rows. Where the
    file has `words`, a decoder's own rows for the labels' words (classes, width), they stay if no fit does better on those.
    """
    from sklearn.linear_model import LogisticRegression

    with np.load(folder / FEATURES, allow_pickle=False) as arrays:
        train, labels = arrays["train"], arrays["labels"]
        validation, validation_labels, classes = arrays["held"], arrays["held_labels"], int(arrays["classes"])
        has_bias, words = bool(arrays["has_bias"]), arrays.get("words")
    known = -1.0 if words is None else float((np.argmax(validation @ words.T, axis=1) == validation_labels).mean())
    deviation = train.std(0) + 1e-6
    mean = train.mean(0) if has_bias else np.zeros_like(deviation)  # without a bias there is nowhere to put the shift
    train, validation = (train - mean) / deviation, (validation - mean) / deviation
    best: tuple[float, Any] = (-1.0, None)
    for strength in (0.003, 0.03, 0.3):
        model = LogisticRegression(C=strength, max_iter=500, fit_intercept=has_bias).fit(train, labels)
        best = max(best, (float(model.score(validation, validation_labels)), model), key=lambda pair: pair[0])
    found = best[1]
    coefficients, intercepts = found.coef_, found.intercept_
    if len(found.classes_) == 2:  # one row of log-odds: half to each side
        coefficients = np.vstack([-coefficients[0] / 2, coefficients[0] / 2])
        intercepts = np.array([-intercepts[0] / 2, intercepts[0] / 2])
    weight = np.zeros((classes, train.shape[1]), dtype=np.float32)
    bias = np.full(classes, -20.0, dtype=np.float32)  # a class that training never showed is never chosen
    weight[found.classes_] = coefficients / deviation
    bias[found.classes_] = intercepts - (coefficients / deviation) @ mean
    if known > best[0]:
        assert words is not None
        weight, bias = words, np.zeros(classes, dtype=np.float32)
    save_arrays(folder / HEAD, {"weight": weight, "bias": bias})


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Arrays by name in an .npz file, whole or absent."""

    def fill(place: Path) -> None:
        with place.open("wb") as file:  # given a name, numpy would add another ending
            np.savez(file, allow_pickle=False, **arrays)

    write_atomic(path, fill)
