"""A session: what all steps of one learning process share, from the imports to the governor."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxtune.clock import Clock
from proxtune.errors import PersonError
from proxtune.memory.allocator import set_allocator
from proxtune.memory.code import unload_cold_code
from proxtune.memory.govern import Governor
from proxtune.memory.kernels import FEW, SOME, USUAL, keep_kernels
from proxtune.memory.lean import import_lean
from proxtune.memory.meter import Meter, Phases, device_and_meter
from proxtune.methods import METHODS
from proxtune.models import ModelSource, attend_on, enable_checkpointing, find_model, head_of
from proxtune.plan import Plan
from proxtune.recipe import Recipe
from proxtune.rows import read_split_of
from proxtune.task import Task, describe_data, read_task
from proxtune.tasks.prompt import begin_with_words, word_rows

if TYPE_CHECKING:  # these bring torch, which comes after the data are known to do
    from proxtune.constraint import Constraint, NoConstraint
    from proxtune.generate import Answering
    from proxtune.structure import Structure

Record = dict[str, Any]
Emit = Callable[[Record], None]


@dataclass(frozen=True, slots=True)
class Session:
    """The recipe and its folder, the task, the device, and what keeps time and memory."""

    recipe: Recipe
    folder: Path
    source: ModelSource
    task: Task
    device: Any  # torch.device
    clock: Clock
    governor: Governor
    phases: Phases
    emit: Emit
    structure: Structure | None = None  # of a model that is held to a size

    @property
    def meter(self) -> Meter:
        """The memory that the budget counts."""
        return self.phases.meter

    def announce(self, phase: str) -> None:
        """Tell whoever listens what begins now."""
        self.emit({"kind": "phase", "phase": phase, "seconds": self.clock.elapsed})


def open_session(recipe: Recipe, folder: Path, clock: Clock, others_bytes: int, emit: Emit) -> Session:
    """Read the data, then import torch and tokenise. Raises PersonError when the data or the model do not do."""
    emit({"kind": "phase", "phase": "read", "seconds": clock.elapsed})
    source, split = find_model(recipe.model), read_split_of(recipe)  # before torch: a mistake is told at once
    import_lean()
    unload_cold_code()
    set_allocator("fast")
    device, meter = device_and_meter(recipe.device)
    others = others_bytes if device.type == "cpu" else 0  # the supervisor holds nothing on a device
    phases = Phases(meter, others)
    phases.memory_bytes["load"] = meter.peak() + others
    structure = None
    if recipe.budget.size is not None and recipe.generates:
        raise PersonError("--size is not there yet for models that generate text; leave it out")
    if recipe.budget.size is not None:
        from proxtune.smaller import begin_smaller

        source, structure = begin_smaller(source, split, recipe.budget.size, folder)
    task = read_task(recipe, split, source.folder)
    attend_on(task.config, device.type)
    task.import_architecture()  # here, once, and not in each forked child
    emit({"kind": "data", **describe_data(task)})
    meter.give_back()  # what tokenising left behind
    unload_cold_code()
    governor = Governor(recipe.budget.memory, meter, others)
    return Session(recipe, folder, source, task, device, clock, governor, phases, emit, structure)


def loaded(plan: Plan, session: Session) -> Any:
    """The pretrained model, in the dtype and with the allocator and the kernels that the plan has."""
    set_allocator(plan.allocator)
    keep_kernels(FEW if plan.neighbours else SOME if session.task.generates else USUAL)
    return session.task.load(session.source.folder, session.recipe.seed, plan.loaded_dtype)


def prepared(plan: Plan, session: Session) -> Any:
    """The same with the plan's method and knobs applied, on the session's device."""
    task, plain = session.task, loaded(plan, session)
    if task.prompt is not None:
        begin_with_words(head_of(plain)[1], word_rows(plain, session.source.folder, task.tokenizer, task.prompt))
    model = METHODS[plan.method].prepare(plain, plan)
    if plan.checkpointing:
        enable_checkpointing(model)
    return model.to(session.device)


def answering(task: Task) -> Answering:
    """How the task's answers are generated."""
    from proxtune.generate import Answering

    assert task.asking is not None, "text is generated"
    return Answering(task.tokenizer, task.pad_id, task.asking.stops, task.new_tokens)


def constraint_of(session: Session, plan: Plan, model: Any) -> Constraint | NoConstraint:
    """What holds `model` to the size that was asked for; from the start where no gradients tell what weights are worth."""
    from proxtune.constraint import Constraint, NoConstraint

    if session.structure is None:
        return NoConstraint()
    constraint = Constraint(model, head_of(model)[0], session.structure, session.folder)
    if not METHODS[plan.method].uses_gradients:
        constraint.settle()
    return constraint


def apart(session: Session, work: Callable[[], Record]) -> Record:
    """What `work` finds out, leaving this process as it was: in a forked child, but on CUDA, which does not survive a fork."""
    if session.device.type == "cpu":
        from proxtune.memory.trace import in_forked_child

        found: Record = in_forked_child(work)
        return found
    found = work()
    gc.collect()  # a refused allocation's traceback holds tensors in a circle
    session.meter.give_back()
    return found
