"""What the cheapest answers score: the commonest label, and words counted. A model must beat them to be worth it."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from typing import Any

from proxtune.data.examples import Examples, Split
from proxtune.data.labels import ClassNumbers
from proxtune.errors import UserError
from proxtune.tasks.classification.metrics import score_classification

# In fewer rows than this a word seen once is worth keeping; in more it is mostly noise and memory.
_ROWS_FOR_MIN_DF_2 = 2000
_MOST_WEIGHTS = 4_000_000  # of a logistic regression, whose solver holds some twenty copies of them


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
        answers, size, note = _tfidf(train.whole_texts, learnt, test.whole_texts, seed)
    except _NothingToLearn as nothing:
        return {"majority": majority, "tfidf": majority | {"seconds": 0.0, "bytes": 0, "note": str(nothing)}}
    seconds = time.perf_counter() - start
    tfidf: dict[str, Any] = score_classification(true, answers, len(labels)) | {"seconds": seconds, "bytes": size}
    tfidf |= {} if note is None else {"note": note}
    return {"majority": majority, "tfidf": tfidf}


class _NothingToLearn(Exception):
    """The texts have no words, or there is but one label."""


def _tfidf(texts: list[str], classes: list[int], questions: list[str], seed: int) -> tuple[list[int], int, str | None]:
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
    # Each word is held with its position, eight bytes.
    words = int(vectorizer.idf_.nbytes) + sum(len(word.encode()) + 8 for word in vectorizer.vocabulary_)
    asked = vectorizer.transform(questions)
    if len(set(classes)) * features.shape[1] > _MOST_WEIGHTS:
        answers, weights = _nearest_means(features, classes, asked)
        return (
            answers,
            weights + words,
            "the nearest mean of a label's texts: logistic regression takes too much for so many",
        )
    model = LogisticRegression(C=10.0, max_iter=500, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline a hair off its optimum is still one
        model.fit(features, classes)
    answers = [int(k) for k in model.predict(asked)]
    return answers, int(model.coef_.nbytes + model.intercept_.nbytes) + words, None


def _nearest_means(features: Any, classes: list[int], asked: Any) -> tuple[list[int], int]:
    """For each of the rows `asked` the class whose mean is nearest by angle, and the bytes of the means."""
    import numpy as np
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import normalize

    known, places = np.unique(classes, return_inverse=True)
    members = csr_matrix((np.ones(len(places), np.float32), (places, np.arange(len(places)))))
    means = normalize(members @ features).tocsr()  # (classes, words)
    few = max(1, _MOST_WEIGHTS // len(known))  # rows at a time
    nearest = [
        np.asarray((asked[begin : begin + few] @ means.T).toarray()).argmax(axis=1)
        for begin in range(0, asked.shape[0], few)
    ]
    return known[np.concatenate(nearest)].tolist(), int(means.data.nbytes + means.indices.nbytes + means.indptr.nbytes)


def _encode(examples: Examples, labels: list[str]) -> list[int]:
    classes = ClassNumbers(labels)
    numbers = [classes.find(label) for label in examples.labels]
    unknown = sorted(label for label, number in zip(examples.labels, numbers, strict=True) if number is None)
    if unknown:
        raise UserError(
            f"{examples.source}: label {unknown[0]!r} is not one of {', '.join(labels)}; fix or drop its rows"
        )
    return [number for number in numbers if number is not None]
