"""`TextClassifier` in a scikit-learn pipeline: cross-validated on 300 film reviews beside TF-IDF, then fitted and kept.

python examples/sklearn_pipeline.py runs/sklearn
"""

from __future__ import annotations

import csv
import sys

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from proxtune import TextClassifier
from proxtune.samples import movies_path

ROWS = 300


def strip(texts: np.ndarray) -> np.ndarray:
    """The texts without spaces around them: any transformer of strings can stand before the classifier."""
    return np.array([text.strip() for text in texts], dtype=object)


def main(folder: str) -> None:
    """Compare two pipelines, then fit one and keep its run in `folder`, which must not exist yet."""
    with movies_path("train").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:ROWS]
    texts = np.array([row["text"] for row in rows], dtype=object)
    labels = np.array([row["label"] for row in rows])

    # The memory budget is for the whole process tree: scikit-learn, imported here, is in it too.
    tuned = make_pipeline(FunctionTransformer(strip), TextClassifier(memory="1GB", time="2min"))
    words = make_pipeline(TfidfVectorizer(), LogisticRegression())
    for name, pipeline in (("TextClassifier", tuned), ("TF-IDF", words)):
        scores = cross_val_score(pipeline, texts, labels, cv=3)
        print(f"{name}: accuracy {scores.mean():.3f} (folds {', '.join(f'{score:.3f}' for score in scores)})")

    # `out` is only for a single fit: in a cross-validation each fold would want the same folder.
    model = TextClassifier(memory="1GB", time="2min", out=folder).fit(texts, labels)
    print(dict(zip(model.classes_, model.predict_proba(["a dull, lifeless film"])[0].round(3), strict=True)))
    print(f"report: {folder}/report.html")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    main(sys.argv[1])
