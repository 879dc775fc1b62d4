"""The scikit-learn way in: `TextClassifier(memory="1GB").fit(texts, y).predict(texts)`."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from proxtune.config.budget import Budget
from proxtune.config.recipe import DEFAULT_MODEL
from proxtune.data.labels import label_key
from proxtune.errors import UserError

if TYPE_CHECKING:
    from proxtune.run import Run

# What a pickled estimator leaves behind: a run needs these to continue training, not to answer.
_LEFT_BEHIND = ("snapshots",)


class TextClassifier(ClassifierMixin, BaseEstimator):
    """A scikit-learn classifier of texts: a language model, fine-tuned within a budget.

    Parameters
    ----------
    budget
        Limits on memory, time, model size and more.
    memory, time
        Short for a `budget` of those parts: bytes or "1GB", seconds or "10min".
    model
        A folder, an alias or a hub id.
    method
        "auto" (the planner chooses) or the name of a method.
    seed
        Seed of everything that is drawn.
    out
        Where to keep the run folder; without one it lives as long as the fitted estimator. Leave it out in a grid search, where
        each fit would want the same folder.

    Attributes
    ----------
    classes_
        The labels, sorted, shape (classes,).
    run_
        The finished run (`proxtune.Run`).

    Raises
    ------
    ValueError
        From `fit`, if the data or the budget cannot be used; the message says what to do.

    Examples
    --------
    >>> from proxtune import TextClassifier
    >>> texts = ["a fine film", "a dull film", "fine acting", "dull acting"] * 5
    >>> model = TextClassifier(model="tiny-bert", method="probe").fit(texts, ["good", "bad", "good", "bad"] * 5)
    >>> model.predict_proba(["a fine film"]).shape
    (1, 2)
    """

    _removal: weakref.finalize[Any, Any]

    def __init__(
        self,
        budget: Budget | None = None,
        *,
        memory: str | int | None = None,
        time: str | float | None = None,
        model: str = DEFAULT_MODEL,
        method: str = "auto",
        seed: int = 0,
        out: str | Path | None = None,
    ) -> None:
        self.budget = budget
        self.memory = memory
        self.time = time
        self.model = model
        self.method = method
        self.seed = seed
        self.out = out

    def fit(self, X: Sequence[str], y: Sequence[Any]) -> Self:
        """Train on texts and their labels.

        Parameters
        ----------
        X
            Texts, shape (rows,).
        y
            Labels of any one kind, shape (rows,).

        Returns
        -------
        TextClassifier
            The fitted estimator itself.

        Raises
        ------
        ValueError
            If the input is wrong, or nothing fits the budget.
        """
        if y is None:
            raise ValueError("This TextClassifier estimator requires y to be passed, but the target y is None")
        texts = _texts(X)
        check_consistent_length(texts, y)
        targets = check_array(column_or_1d(y, warn=True), ensure_2d=False, dtype=None, input_name="y")
        check_classification_targets(targets)
        classes, codes = np.unique(targets, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y holds one class only ({classes[0]!r}); give examples of at least two classes")
        names = _names(classes)

        scratch = Path(tempfile.mkdtemp(prefix="proxtune-"))
        out = self.out
        try:
            data = scratch / "examples.jsonl"  # JSON keeps line breaks, quotes and spaces as they are
            with data.open("w", encoding="utf-8") as file:
                file.writelines(
                    json.dumps({"text": text, "label": names[code]}) + "\n"
                    for text, code in zip(texts, codes, strict=True)
                )
            run = self._tune(data, scratch / "run" if out is None else Path(out))
            data.unlink()
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        self._own(scratch)
        self.run_: Run = run
        self.classes_ = classes
        self._names = names
        return self

    def predict(self, X: Sequence[str]) -> np.ndarray[Any, Any]:
        """Predict the label of each text.

        Parameters
        ----------
        X
            Texts, shape (rows,).

        Returns
        -------
        ndarray
            Labels of the same type as in `y`, shape (rows,).

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the input is wrong.
        """
        check_is_fitted(self)
        texts = _texts(X)
        index = {name: k for k, name in enumerate(self._names)}
        return self.classes_[[index[name] for name in self.run_.predict(texts)]]

    def predict_proba(self, X: Sequence[str]) -> np.ndarray[Any, Any]:
        """Predict the probability of each class.

        Parameters
        ----------
        X
            Texts, shape (rows,).

        Returns
        -------
        ndarray
            Probabilities from 0 to 1, shape (rows, classes), columns as in `classes_`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the input is wrong.
        """
        check_is_fitted(self)
        texts = _texts(X)
        given = np.asarray(self.run_.predict_proba(texts), dtype=float)
        column = {name: k for k, name in enumerate(self.run_.labels)}
        return given[:, [column[name] for name in self._names]]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    def _tune(self, data: Path, out: Path) -> Run:
        from proxtune.run import tune  # here: an estimator that is only configured or cloned runs nothing

        try:
            return tune(
                data,
                task="classify",
                model=self.model,
                method=self.method,
                budget=_budget(self.budget, self.memory, self.time),
                seed=self.seed,
                out=out,
                text_column="text",
                label_column="label",
            )
        except UserError as error:
            raise ValueError(str(error)) from error

    def _own(self, folder: Path) -> None:
        # The folder goes with this estimator, or with its next fit.
        if hasattr(self, "_removal"):
            self._removal()
        self._removal = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_removal", None)
        run = state.pop("run_", None)
        if run is not None:
            # The folder may be gone, or on another machine, when the pickle is read: its files travel along.
            state["_files"] = {
                str(path.relative_to(run.folder)): path.read_bytes()
                for path in sorted(Path(run.folder).rglob("*"))
                if path.is_file() and path.relative_to(run.folder).parts[0] not in _LEFT_BEHIND
            }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.pop("_files", None)
        super().__setstate__(state)
        if files is None:
            return
        from proxtune.run import open_run

        scratch = Path(tempfile.mkdtemp(prefix="proxtune-"))
        self._own(scratch)
        for name, content in files.items():
            path = scratch / "run" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.run_ = open_run(scratch / "run")


def _budget(budget: Budget | None, memory: str | int | None, time: str | float | None) -> Budget:
    short = Budget(memory=memory, time=time)
    if budget is None:
        return short
    for name in ("memory", "time"):
        if getattr(short, name) is not None and getattr(budget, name) is not None:
            raise ValueError(f"{name} is given twice, in budget and as {name}=; keep one of them")
    return replace(budget, memory=budget.memory or short.memory, time=budget.time or short.time)


def _texts(X: Sequence[str]) -> list[str]:
    if isinstance(X, (str, bytes)):
        raise ValueError("X is one text; give a list of texts, like [text]")
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) != 1:
        raise ValueError(
            f"X has the shape {tuple(shape)}, not that of a 1-d row of texts; name one column, or use X.ravel()"
        )
    texts = list(X)
    if not texts:
        raise ValueError("X has 0 texts (0 sample(s)) while a minimum of 1 is required.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"X[{row}] is {text!r:.40}, of type {type(text).__name__}, not a text (str)")
    return [str(text) for text in texts]


def _names(classes: np.ndarray[Any, Any]) -> list[str]:
    """What the run calls the classes: their own words, where a file can hold those without loss."""
    words = [str(label) for label in classes]
    if len(set(map(label_key, words))) == len(words) and all(
        word and word == word.strip() and word.isprintable() for word in words
    ):
        return words
    return [f"class {k}" for k in range(len(words))]
