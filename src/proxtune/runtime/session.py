"""A session: what all steps of one learning process share, from the imports to the governor."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxtune.config.recipe import Recipe
from proxtune.errors import UserError
from proxtune.memory.allocator import set_allocator
from proxtune.memory.devices.base import Meter, device_and_meter
from proxtune.memory.governor import Governor
from proxtune.memory.lean_imports import import_lean
from proxtune.memory.library_pages import unload_cold_code
from proxtune.memory.phases import Phases
from proxtune.models.loading import choose_attention
from proxtune.models.source import ModelSource, find_model
from proxtune.runtime.clock import Clock
from proxtune.storage.events import DataRead, Event, Phase
from proxtune.tasks.base import Task, TaskData
from proxtune.tasks.registry import find_task

if TYPE_CHECKING:
    from proxtune.compression.architecture import Structure


Record = dict[str, Any]
Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Session:
    """The recipe and its folder, the task and its rows, the device, and what keeps time and memory."""

    recipe: Recipe
    folder: Path
    source: ModelSource
    task: Task
    data: TaskData
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

    def emit_phase(self, phase: str) -> None:
        """Tell whoever listens what begins now."""
        self.emit(Phase(phase=phase, seconds=self.clock.elapsed))


def open_session(recipe: Recipe, folder: Path, clock: Clock, others_bytes: int, emit: Emit) -> Session:
    """Read the data, then import torch and tokenise. Raises UserError when the data or the model do not do."""
    emit(Phase(phase="read", seconds=clock.elapsed))
    task, source = find_task(str(recipe.task)), find_model(recipe.model)
    split = task.read(recipe)  # before torch: a mistake is told at once
    import_lean()
    unload_cold_code()
    set_allocator("fast")
    device, meter = device_and_meter(recipe.device)
    others = others_bytes if device.type == "cpu" else 0  # the supervisor holds nothing on a device
    phases = Phases(meter, others)
    phases.memory_bytes["load"] = meter.peak() + others
    structure = None
    if recipe.budget.size is not None and not task.traits.can_be_sized:
        raise UserError(f"--size does not work with --task {task.name} yet; leave it out")
    if recipe.budget.size is not None:
        from proxtune.compression.shrink import shrink_model

        source, structure = shrink_model(source, split, recipe.budget.size, folder)
    data = task.encode(recipe, split, source.folder)
    choose_attention(data.config, device.type)
    task.import_architecture(data)  # here, once, and not in each forked child
    emit(DataRead(facts=task.describe(data)))
    meter.trim()  # what tokenising left behind
    unload_cold_code()
    governor = Governor(recipe.budget.memory, meter, others)
    return Session(
        recipe=recipe, folder=folder, source=source, task=task, data=data, device=device, clock=clock, governor=governor,
        phases=phases, emit=emit, structure=structure,
    )  # fmt: skip


def in_child_process(session: Session, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` finds out, leaving this process as it was: in a forked child, but on CUDA, which does not survive a fork."""
    if session.device.type == "cpu":
        from proxtune.memory.fork import in_forked_child

        found: dict[str, Any] = in_forked_child(work)
        return found
    found = work()
    gc.collect()  # a refused allocation's traceback holds tensors in a circle
    session.meter.trim()
    return found
