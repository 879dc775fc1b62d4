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
from proxtune.memory.devices.base import Device, Meter
from proxtune.memory.devices.registry import find_device
from proxtune.memory.governor import Governor
from proxtune.memory.lean_imports import import_lean
from proxtune.memory.library_pages import unload_cold_code
from proxtune.memory.phases import Phases
from proxtune.models.source import ModelSource, find_model
from proxtune.runtime.clock import Clock
from proxtune.runtime.guard import explain_model_errors
from proxtune.storage.events import DataRead, Event, Phase
from proxtune.tasks.base import Task, TaskData, TaskTraits
from proxtune.tasks.registry import find_task

if TYPE_CHECKING:
    from proxtune.compression.architecture import Structure
    from proxtune.data.examples import Split

Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Session:
    """The recipe and its folder, the task and its rows, the device, and what keeps time and memory."""

    recipe: Recipe
    folder: Path
    source: ModelSource
    task: Task
    data: TaskData
    device: Device
    clock: Clock
    governor: Governor
    phases: Phases
    emit: Emit
    starting_seconds: float = 0.0  # from the command until the rows were read and the libraries in memory
    structure: Structure | None = None  # of a model that is held to a size

    @property
    def traits(self) -> TaskTraits:
        """The task's traits, for these rows and this model."""
        return self.data.traits or self.task.traits

    @property
    def meter(self) -> Meter:
        """The memory that the budget counts."""
        return self.phases.meter

    def emit_phase(self, phase: str) -> None:
        """Tell the listener which phase begins."""
        self.emit(Phase(phase=phase, seconds=self.clock.elapsed))


def open_session(recipe: Recipe, folder: Path, clock: Clock, others_bytes: int, emit: Emit) -> Session:
    """Read the data, then import torch and tokenise. Raises UserError when the data or the model do not do."""
    emit(Phase(phase="read", seconds=clock.elapsed))
    task, source = find_task(str(recipe.task)), find_model(recipe.model)
    split = task.read(recipe)  # before torch: a mistake is told at once
    import_lean()
    unload_cold_code()
    set_allocator("fast")
    starting_seconds = clock.elapsed
    device = find_device(recipe.device)
    meter, others = device.meter(), others_bytes if device.supervisor_counts else 0
    phases = Phases(meter, others)
    phases.memory_bytes["load"] = meter.peak() + others
    structure = None
    if recipe.budget.size is not None and not task.traits.can_be_sized:
        raise UserError(f"--size does not work with --task {task.name} yet; leave it out")
    if recipe.budget.size is not None:
        source, structure = _smaller_model(source, split, recipe.budget.size, folder, device, phases)
    with explain_model_errors(recipe.model):
        data = task.encode(recipe, split, source.folder)
        data.config._attn_implementation = device.attention(data.config._attn_implementation)
        task.import_architecture(data)  # here, once, and not in each forked child
    emit(DataRead(facts=task.describe(data)))
    meter.trim()  # what tokenising left behind
    unload_cold_code()
    governor = Governor(recipe.budget.memory, meter, others)
    return Session(
        recipe=recipe, folder=folder, source=source, task=task, data=data, device=device, clock=clock, governor=governor,
        phases=phases, emit=emit, starting_seconds=starting_seconds, structure=structure,
    )  # fmt: skip


def _smaller_model(
    source: ModelSource, split: Split[Any], size_bytes: int, folder: Path, device: Device, phases: Phases
) -> tuple[ModelSource, Structure | None]:
    """`shrink_model` in a child process: this one is forked later, and must not have computed by then."""
    from proxtune.compression.shrink import find_smaller_model, shrink_model

    def shrink() -> dict[str, Any]:
        _, structure = shrink_model(source, split, size_bytes, folder)
        return {"is_smaller": structure is not None, "peak_bytes": phases.meter.peak()}

    found = find_smaller_model(source, folder)
    if found is None:
        outcome = _in_child(device, phases.meter, shrink)
        load_bytes = phases.memory_bytes.get("load", 0)
        phases.memory_bytes["load"] = max(load_bytes, outcome["peak_bytes"] + phases.others_bytes)
        found = find_smaller_model(source, folder) if outcome["is_smaller"] else None
    return (source, None) if found is None else found


def in_child_process(session: Session, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` finds out, leaving this process as it was: in a forked child, where the device survives a fork."""
    return _in_child(session.device, session.meter, work)


def _in_child(device: Device, meter: Meter, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if device.can_fork:
        from proxtune.memory.fork import in_forked_child

        found: dict[str, Any] = in_forked_child(work)
        return found
    found = work()
    gc.collect()  # a refused allocation's traceback holds tensors in a circle
    meter.trim()
    return found
