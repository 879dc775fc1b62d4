"""What the cheapest answers score: the commonest label, and words counted. A model must beat them to be worth it."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from typing import Any

from proxtune.data.examples import Examples, Split
from proxtune.errors import UserError
from proxtune.tasks.classification.metrics import score_classification

# In fewer rows than this a word seen once is worth keeping; in more it is mostly noise and memory.
_ROWS_FOR_MIN_DF_2 = 2000


def run_baselines(split: Split[Examples], labels: list[str], seed: int) -> dict[str, dict[str, Any]]:
    """Both baselines fitted on `split.train` and scored on `split.validation`.

    `majority` and `tfidf` each hold accuracy and macro_f1 (0 to 1); tfidf also `seconds` to learn and answer, `bytes`
    of its weights and words, and a `note` where it fell back on the majority. Raises UserError for an unknown label.
    """
    return _score_both(split.train, split.validation, labels, seed)


def baseline_scores_on(train: Examples, test: Examples, labels: list[str]) -> dict[str, dict[str, Any]]:
    """As `run_baselines`, fitted on `train` and scored on any other file. Raises UserError for an unknown label."""
    return _score_both(train, test, labels, seed=0)


def _score_both(train: Examples, test: Examples, labels: list[str], seed: int) -> dict[str, dict[str, Any]]:
    learnt, true = _encode(train, labels), _encode(test, labels)
    counts = Counter(learnt)
    commonest = max(range(len(labels)), key=lambda k: counts[k])  # the first of equals, so that reruns agree
    majority: dict[str, Any] = {**score_classification(true, [commonest] * len(true), len(labels))}

    start = time.perf_counter()
    try:
        answers, size = _tfidf(train.texts, learnt, test.texts, seed)
    except _NothingToLearn as nothing:
        return {"majority": majority, "tfidf": majority | {"seconds": 0.0, "bytes": 0, "note": str(nothing)}}
    seconds = time.perf_counter() - start
    tfidf = score_classification(true, answers, len(labels)) | {"seconds": seconds, "bytes": size}
    return {"majority": majority, "tfidf": tfidf}


class _NothingToLearn(Exception):
    """The texts have no words, or there is but one label."""


def _tfidf(texts: list[str], classes: list[int], questions: list[str], seed: int) -> tuple[list[int], int]:
    if len(set(classes)) < 2:
        raise _NothingToLearn("only one label to train on: the same as the majority")
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2),
        sublinear_tf=True,
        min_df=2 if len(texts) >= _ROWS_FOR_MIN_DF_2 else 1,
        token_pattern=r"(?u)\b\w+\b",  # one-letter words too: "I", "à", and digits tell classes apart
        dtype=np.float32,
    )
    try:
        features = vectorizer.fit_transform(texts)
    except ValueError as empty:  # scikit-learn's way to say that no word is left
        raise _NothingToLearn("no words to train on: the same as the majority") from empty
    model = LogisticRegression(C=10.0, max_iter=500, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline a hair off its optimum is still one
        model.fit(features, classes)
    answers = [int(k) for k in model.predict(vectorizer.transform(questions))]
    # Each word is held with its position, eight bytes.
    words = sum(len(word.encode()) + 8 for word in vectorizer.vocabulary_)
    return answers, int(model.coef_.nbytes + model.intercept_.nbytes + vectorizer.idf_.nbytes + words)


def _encode(examples: Examples, labels: list[str]) -> list[int]:
    index = {label: k for k, label in enumerate(labels)}
    unknown = sorted(set(examples.labels) - index.keys())
    if unknown:
        raise UserError(
            f"{examples.source}: label {unknown[0]!r} is not one of {', '.join(labels)}; fix or drop its rows"
        )
    return [index[label] for label in examples.labels]
