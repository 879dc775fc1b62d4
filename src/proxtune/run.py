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
    """A finished run: its folder, its result and its model's use.

    Where text is generated `predict` answers, and there are no labels and no probabilities.
    """

    folder: Path
    result: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """The classes, in the order of `predict_proba`'s columns."""
        return list(self.result["data"]["labels"])

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The label of each text, or the answer to it."""
        return [str(row.answer if row.label is None else row.label) for row in predictions(self.folder, texts=texts)]

    def predict_proba(self, texts: Sequence[str]) -> list[list[float]]:
        """The probability of each label for each text."""
        return [list(row.probabilities or ()) for row in predictions(self.folder, texts=texts)]

    def evaluate(self, data: str | Path) -> dict[str, Any]:
        """Metrics on another file."""
        return evaluate(self.folder, str(data))

    def export(self, out: str | Path, kind: str = "safetensors") -> Path:
        """The model, the adapter or a GGUF file at `out`, as `proxtune.export.formats.export`. Raises UserError."""
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
    """Fine-tune `model` on `data` inside `budget`; the run folder `out` must not exist yet.

    `knobs` fixes what the planner would choose (`micro_batch`, `dtype`, `epochs`, … see `proxtune.config.recipe.Knobs`); `listen`
    receives each record as it happens. Raises UserError (Infeasible among them) and Interrupted.
    """
    recipe = Recipe(
        data=str(data), out=str(out), task=task, model=model, method=method, seed=seed, budget=budget or Budget(),
        validation=None if validation is None else str(validation), text_column=text_column, label_column=label_column,
        bad_rows=bad_rows, instruction=instruction,
        knobs=Knobs(**knobs),
    )  # fmt: skip
    return Run(Path(out), train(recipe, listen))


def open_run(folder: str | Path) -> Run:
    """A finished run from its folder. Raises UserError when there is none."""
    return Run(Path(folder), read_result(folder))
