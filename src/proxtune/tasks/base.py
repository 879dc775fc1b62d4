"""What a task is: the contract that each folder of this package fills in.

A task knows its rows: how they are read, what the model sees of them, what it is trained for, how it is scored, and what it
answers. All else (plans, memory, time, checkpoints, reports) is the same for every task and asks it only for the traits below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from proxtune.config.plan import Plan
from proxtune.config.recipe import Recipe
from proxtune.data.examples import Split
from proxtune.storage.events import Event

if TYPE_CHECKING:  # these bring numpy, which the process that supervises a run does without
    import numpy as np

    from proxtune.data.dataset import Encoded
    from proxtune.memory.governor import Governor


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTraits:
    """What planning, training and evaluation need to know of a task beside its rows.

    needs_gradients: no method without back-propagation can learn it.
    long_rows: rows are long and of many lengths: memory goes back before each step, and few compiled kernels are kept.
    new_head: a classification head is added, which guesses at first.
    base_quality: expected quality of the base model before the first step, as a share of the best; None where it knows nothing.
    frozen_codes: the weights under adapters may be held in bf16 or as codes of 8 or 4 bits.
    usual_batch: rows of an update; None for the method's own. A budget of fewer than `few_steps` steps halves it, down to
        `least_batch`.
    micro_batch_tokens: micro-batches of more tokens are no faster; None where they are.
    traced_tokens: tokens of a row that is traced, where whole ones would take gigabytes; None for whole rows.
    head_bytes: what the objective's head takes for a while, whatever the rows.
    compares_base_model: the base model is scored before training, on the same rows as the result.
    validates_start: the model knows the task without a fitted layer: the point before the first step is evaluated too.
    can_be_sized: `--size` works.
    prediction_tokens, prediction_tokens_in_budget: padded tokens of a micro-batch where a trained model is used; the second
        where the run had a memory budget.
    """

    needs_gradients: bool = False
    long_rows: bool = False
    new_head: bool = True
    base_quality: float | None = None
    frozen_codes: bool = False
    usual_batch: int | None = None
    few_steps: int = 0
    least_batch: int = 0
    micro_batch_tokens: int | None = None
    traced_tokens: int | None = None
    head_bytes: int = 0
    compares_base_model: bool = False
    validates_start: bool = False
    can_be_sized: bool = True
    prediction_tokens: int = 2048
    prediction_tokens_in_budget: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """The rows of a run as its model sees them. A task may return a subclass with more in it."""

    split: Split[Any]
    tokenizer: Any
    config: Any  # transformers' config, with what the task needs of it
    train: Encoded
    validation: Encoded
    max_length: int  # tokens of the longest row
    labels: tuple[str, ...] = ()  # the classes, where there are any
    knows_labels: bool = False  # the head begins with what the model knows of them
    pads: bool = True  # what the model says of a row stays the same when others fill it up
    batches: bool = True  # what it answers to a row stays the same when others are answered with it
    traits: TaskTraits | None = None  # where rows and model leave less open than the task's own
    notes: tuple[str, ...] = ()  # what was found out about the model

    @property
    def pad_id(self) -> int:
        """The token that fills a row up."""
        return int(self.config.pad_token_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAtHand:
    """A model that is evaluated: with its plan, its rows, and what holds its memory. `dtype` is what weights are cast to."""

    model: Any
    plan: Plan
    data: TaskData
    governor: Governor
    dtype: str = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRequest:
    """What baselines are wanted for: the validation rows, or those of `file`; beside what the model and the base model gave."""

    file: str | None = None
    results: Mapping[str, Any] | None = None
    base_results: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A finished run's model with the rows that it is asked about. A task may return a subclass with more in it."""

    model: Any
    rows: Encoded
    pad_id: int


class Task(Protocol):
    """One kind of task. `proxtune.checks.check_task` tries all of it.

    None of its attributes and neither `check` nor `read` may import torch: a mistake in a recipe or a file is told at once, by a
    process that stays small.
    """

    @property
    def name(self) -> str:
        """What `--task` calls it."""
        ...

    @property
    def default_model(self) -> str:
        """The model where the user names none."""
        ...

    @property
    def report_section(self) -> str:
        """How reports show its results: "classification" or "generation"."""
        ...

    @property
    def traits(self) -> TaskTraits: ...

    def check(self, recipe: Recipe) -> None:
        """Raise UserError where the recipe asks for what the task cannot do, or where a library is missing."""
        ...

    def read(self, recipe: Recipe) -> Split[Any]:
        """Training and validation rows. Raises UserError."""
        ...

    def read_evaluation(self, recipe: Recipe, file: str) -> Any:
        """Rows with labels or answers to score a trained model on. Raises UserError."""
        ...

    def read_inputs(self, recipe: Recipe, texts: Sequence[str], file: str | None) -> Any:
        """Rows to predict: `texts`, or those of `file`. Raises UserError."""
        ...

    def encode(self, recipe: Recipe, split: Split[Any], model_folder: Path) -> TaskData:
        """Rows → token ids, with the sequence length that they need; each `Encoded` names the task's objective."""
        ...

    def describe(self, data: TaskData) -> dict[str, Any]:
        """What `result.json` says of the rows, under `data`."""
        ...

    def import_architecture(self, data: TaskData) -> None:
        """Import the model's code, which transformers does at the first load."""
        ...

    def load_model(self, model_folder: Path, data: TaskData, seed: int, dtype: str = "fp32") -> Any:
        """The pretrained model with the head that the task needs, its weights held in `dtype` ("fp32" or "bf16")."""
        ...

    def rows_of_results(self, data: TaskData, base_results: Mapping[str, Any] | None) -> np.ndarray:
        """Numbers of the validation rows whose outputs `results` needs."""
        ...

    def results(
        self, final: ModelAtHand, outputs: np.ndarray, base_results: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """What the result says of the final model beside its metrics.

        `outputs` are those of the validation rows, (rows, numbers): not a number where they were not asked for.
        """
        ...

    def base_results(
        self, base: ModelAtHand, seconds_left: float, outputs: Callable[[np.ndarray], np.ndarray]
    ) -> dict[str, Any]:
        """The same of the base model before training, with `metrics` and the `seconds` it took; only where it is compared.

        `outputs` gives what it says of some validation rows, by number.
        """
        ...

    def lost_to_base(self, data: TaskData, results: Mapping[str, Any], base_results: Mapping[str, Any]) -> str | None:
        """By how much the base model is better than what was learned, in words; None where it is not.

        Only where it is compared.
        """
        ...

    def set_defaults(self, model: Any, data: TaskData) -> None:
        """Set the defaults that are saved with the model, such as generation settings, to those that it was scored with."""
        ...

    def dry_run_results(self, final: ModelAtHand, micro_tokens: int) -> int:
        """Do the largest part of what `results` does; returns the bytes that the whole of it takes on top."""
        ...

    def baselines(self, recipe: Recipe, asked: BaselineRequest) -> dict[str, Any]:
        """Scores by name, under `baselines`, of what needs no training, and what else comes of comparing with them."""
        ...

    def load_trained(
        self,
        model_folder: Path,
        recipe: Recipe,
        rows: Any,
        *,
        result: Mapping[str, Any],
        model: Any = None,
        base: bool = False,
    ) -> TrainedModel:
        """A trained `model` (loaded here where None is given) with rows of `read_evaluation` or `read_inputs` encoded for it.

        `result` is the run's `result.json`; with `base` the model is the one that the run began with.
        """
        ...

    def evaluation(
        self, trained: TrainedModel, outputs: np.ndarray, governor: Governor, micro_tokens: int
    ) -> dict[str, Any]:
        """What an evaluation says beside the metrics."""
        ...

    def predict(
        self,
        trained: TrainedModel,
        rows: Any,
        governor: Governor,
        micro_tokens: int,
        outputs: Callable[[], np.ndarray],
        emit: Callable[[Event], None],
    ) -> None:
        """Emit a `Prediction` for each row, in order; pieces of a single answer may come before it.

        `outputs()` warms up, sets the memory limit and gives the model's outputs; a task that does without it does both itself.
        """
        ...
