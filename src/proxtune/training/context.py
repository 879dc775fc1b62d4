"""What training is given, what a step answers, and what makes steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from proxtune.checkpoint.checkpointer import Checkpointer
from proxtune.compression.size_constraint import NoSizeConstraint, SizeConstraint
from proxtune.config.plan import Plan
from proxtune.data.dataset import Encoded
from proxtune.memory.governor import Governor
from proxtune.memory.phases import Phases
from proxtune.optim.step_record import StepRecord
from proxtune.runtime.clock import Clock
from proxtune.storage.events import StepDown
from proxtune.storage.safetensors_header import Entry


def cannot_stream() -> bool:
    """For weights that lie in no files."""
    return False


@dataclass(frozen=True, slots=True)
class Training:
    """All that the loop reads: the prepared model, the data and what guards them."""

    model: Any
    train: Encoded
    validation: Encoded
    pad_id: int
    seed: int
    clock: Clock
    ending_seconds: float  # kept free for the last evaluation, saving and the report
    evaluations: int
    max_steps: int  # where the time allows more than was planned
    governor: Governor
    phases: Phases
    save_best: Callable[[], None]  # writes the trainable weights, durably
    save_stopped: Callable[[], None]  # the same where the user stops, beside the best so far
    interrupted: Callable[[], bool]
    checkpointer: Checkpointer
    constraint: SizeConstraint | NoSizeConstraint = field(default_factory=NoSizeConstraint)
    where: Callable[[int], str] = "row {}".format  # what the user calls a row: its file and line
    stream_weights: Callable[[], bool] = cannot_stream  # lets frozen weights come and go from now on; whether they do
    size_phase_seconds: float = 0.0  # kept free until the model is held to a size
    validates_start: bool = False  # evaluate the point before the first step too, as is done with a fitted layer
    first_metrics: Mapping[str, float] | None = None  # of that point, where they are known already
    validation_seconds: float = 0.0  # of an evaluation, until one was made; 0 where nothing tells,
    final_validations: float = 1.0  # evaluations in training that the result's takes as long as
    validation_steps: float = 0.0  # and then how many steps take as long


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did: the plan that it ended with (its micro-batches may be smaller), the loss, and what else is worth a record.

    `rejected` holds the rows at fault, as far as they were found, where the step moved nothing since a number was not finite;
    `left_out` those that memory refused even one at a time. Where these are all, nothing moved, and there is no loss.
    """

    plan: Plan
    loss: float
    learning_rate: float
    step_downs: list[StepDown] = field(default_factory=list)
    rule: str | None = None  # by which neighbours moved the weights, and how far from them they are
    spread: float | None = None
    rejected: list[int] | None = None
    left_out: list[int] = field(default_factory=list)


def no_optimizer_state(names: Mapping[str, Entry]) -> dict[str, Any]:
    """For steps that keep nothing beside the weights."""
    return {}


@dataclass(frozen=True, slots=True)
class StepMaker:
    """A way to make steps, and what it has beside the weights, so that it can be resumed.

    `make_step(plan, row numbers, number of the step, share of the learning rate)` makes one. `optimizer_state()` is
    what a snapshot keeps, named by the weight that it belongs to ("encoder.weight/exp_avg"), and
    `allocate_state(entries)` makes room for the same. `replay(records, applied)` does again what records say, of which
    the first `applied` are in the weights already; None for steps that no record can repeat.
    """

    make_step: Callable[[Plan, np.ndarray, int, float], StepResult]
    optimizer_state: Callable[[], Mapping[str, Any]] = dict
    allocate_state: Callable[[Mapping[str, Entry]], Mapping[str, Any]] = no_optimizer_state
    replay: Callable[[list[StepRecord], int], None] | None = None
