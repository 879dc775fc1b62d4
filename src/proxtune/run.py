"""The public face of a run: `tune` makes one, `open_run` opens one, `Run` uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.config.budget import Budget
from proxtune.config.recipe import Knobs, Recipe
from proxtune.pipeline.queries import evaluate, predictions
from proxtune.pipeline.supervisor import train
from proxtune.storage.events import Listener
from proxtune.storage.result import read_result


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: its folder, its result, and its model, ready to use.

    Parameters
    ----------
    folder
        The run folder, which `tune` or `proxtune train` wrote.
    result
        What `result.json` holds: plan, metrics, baselines, measured memory in bytes and seconds.

    Examples
    --------
    >>> run = open_run("runs/reviews")
    >>> run.result["status"]
    'done'
    >>> run.labels
    ['negative', 'positive']
    """

    folder: Path
    result: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """The classes, in the order of `predict_proba`'s columns."""
        return list(self.result["data"]["labels"])

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Predict the label of each text; a model that generates text answers it instead.

        Parameters
        ----------
        texts
            The texts, in any number.

        Returns
        -------
        list of str
            One label or answer per text, in order.

        Raises
        ------
        UserError
            If the run folder has no model, or a damaged one.

        Examples
        --------
        >>> open_run("runs/reviews").predict(["a fine film"])[0] in ("negative", "positive")
        True
        """
        return [str(row.answer if row.label is None else row.label) for row in predictions(self.folder, texts=texts)]

    def predict_proba(self, texts: Sequence[str]) -> list[list[float]]:
        """Predict the probability of each label for each text.

        Parameters
        ----------
        texts
            The texts, in any number.

        Returns
        -------
        list of list of float
            Shape (texts, labels), rows add up to 1, columns in the order of `labels`. Empty rows for a model that generates text.

        Raises
        ------
        UserError
            If the run folder has no model, or a damaged one.
        """
        return [list(row.probabilities or ()) for row in predictions(self.folder, texts=texts)]

    def evaluate(self, data: str | Path) -> dict[str, Any]:
        """Score the model on another file, beside the baselines; `result.json` and the report keep the scores.

        Parameters
        ----------
        data
            A file, folder or hub dataset with labels or answers.

        Returns
        -------
        dict
            `rows`, `metrics` by name, `baselines` by name, `memory_bytes` and what else the task adds.

        Raises
        ------
        UserError
            If the data cannot be read, or hold a label that was never seen in training.

        Examples
        --------
        >>> found = open_run("runs/reviews").evaluate("reviews.csv")
        >>> 0 <= found["metrics"]["accuracy"] <= 1
        True
        """
        return evaluate(self.folder, str(data))

    def export(self, out: str | Path, kind: str = "safetensors") -> Path:
        """Write the model in another place or format.

        Parameters
        ----------
        out
            The file or folder to write, which must not exist yet.
        kind
            "safetensors" (a folder that transformers loads), "adapter" (peft), "gguf" (one file), or the format of an installed
            package.

        Returns
        -------
        Path
            `out`.

        Raises
        ------
        UserError
            If the format is unknown, `out` exists, the run has no such part, or the disk is full.

        Examples
        --------
        >>> open_run("runs/reviews").export("exported").name
        'exported'
        """
        from proxtune.export.formats import export

        export(self.folder, out, kind)
        return Path(out)


def tune(
    data: str | Path,
    *,
    out: str | Path,
    budget: Budget | None = None,
    task: str | None = None,
    model: str = "",
    method: str = "auto",
    seed: int = 0,
    validation: str | Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    bad_rows: str = "fail",
    instruction: str | None = None,
    listen: Listener | None = None,
    **knobs: Any,
) -> Run:
    """Fine-tune a model on your data inside a budget.

    proxtune plans the training that is expected to give the best model within the budget,
    min L(θ) = Σ −log P(y|x; θ) subject to limits on memory, time and model size, and keeps to it in every phase.

    Parameters
    ----------
    data
        A .csv, .tsv, .jsonl, .json or .parquet file, a dataset folder, or the name of a Hugging Face dataset.
    out
        The run folder to write, which must not exist yet.
    budget
        Limits on memory (bytes), time (seconds), model size (bytes) and more; no limit by default.
    task
        "classify", "summarize", "translate", "instruct", or the task of an installed package; detected from the columns if None.
    model
        A folder, an alias or a hub id; the task's default if empty.
    method
        "auto" (the planner chooses), "full", "lora", "layers", "probe", "nno", or the method of an installed package.
    seed
        Seed of the split, the order of rows, new weights and everything else that is drawn.
    validation
        Rows for validation; one in ten training rows if None.
    text_column, label_column
        Columns of the input and of the label or answer; guessed from names and contents if None, and reported.
    bad_rows
        "fail" (refuse rows that cannot be used) or "skip" (leave them out and say so).
    instruction
        What a model that generates text is told before each text.
    listen
        Called with each event of the run as it happens (`proxtune.storage.events`).
    **knobs
        What the planner would choose otherwise: `micro_batch`, `dtype`, `epochs`, … (`proxtune.config.recipe.Knobs`).

    Returns
    -------
    Run
        The finished run, with the best model found.

    Raises
    ------
    UserError
        If the data, the model or an option cannot be used, or nothing fits the budget (`Infeasible`).
    Interrupted
        If the user stopped the run. The best model so far is in the run folder, and `proxtune resume` continues.

    Examples
    --------
    >>> from proxtune import Budget, tune
    >>> run = tune("reviews.csv", model="tiny-bert", out="runs/first", method="probe", budget=Budget(memory="2GB"))
    >>> run.result["method"]
    'probe'
    """
    recipe = Recipe(
        data=str(data), out=str(out), task=task, model=model, method=method, seed=seed, budget=budget or Budget(),
        validation=None if validation is None else str(validation), text_column=text_column, label_column=label_column,
        bad_rows=bad_rows, instruction=instruction,
        knobs=Knobs(**knobs),
    )  # fmt: skip
    return Run(Path(out), train(recipe, listen))


def open_run(folder: str | Path) -> Run:
    """Open a finished run.

    Parameters
    ----------
    folder
        The run folder, which `tune` or `proxtune train` wrote.

    Returns
    -------
    Run
        The run with its result; the model is loaded when it is used.

    Raises
    ------
    UserError
        If the folder is not a finished run.

    Examples
    --------
    >>> from proxtune import open_run
    >>> open_run("runs/reviews").result["task"]
    'classify'
    """
    return Run(Path(folder), read_result(folder))
