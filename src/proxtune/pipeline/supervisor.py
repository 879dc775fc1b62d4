"""A run, from the recipe to the report. This process supervises: each stage below is a process of its own.

recipe → learn (examples → task → model → plan → train → evaluate → artifact) → baselines → report
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proxtune.config.recipe import Recipe
from proxtune.config.recipe import check as check_recipe
from proxtune.errors import DiskFailed, Interrupted, UserError
from proxtune.memory.devices.registry import outer_limit_bytes
from proxtune.models.aliases import ALIASES
from proxtune.models.source import find_model
from proxtune.pipeline.jobs import BaselinesJob, CheckJob, FitJob, ReportJob
from proxtune.pipeline.names import check_names
from proxtune.pipeline.process import StageHung, run_stage
from proxtune.pipeline.result import result_of
from proxtune.pipeline.sitting import Infeasible, Sitting, fit_or_finish, run_twice
from proxtune.runtime.clock import Clock
from proxtune.storage.atomic import disk_error_message, remove_partial_files, write_json
from proxtune.storage.event_log import EventLog, read_events, seconds_used
from proxtune.storage.events import Listener, Notice, Resumed, RunInterrupted
from proxtune.storage.lock import locked
from proxtune.storage.result import (
    how_it_ended,
    interruptions,
    is_finished,
    read_result,
    step_downs_of,
)
from proxtune.storage.run_folder import absolute, claim_folder, missing_parents, read_recipe, write_recipe
from proxtune.storage.safetensors_header import check_files
from proxtune.storage.timeline import seconds_by_phase
from proxtune.tasks.registry import find_task


def train(recipe: Recipe, listen: Listener | None = None, started: float | None = None) -> dict[str, Any]:
    """Carry a recipe out; returns what `result.json` holds."""
    clock = Clock(time.monotonic() if started is None else started, recipe.budget.time)
    recipe = resolve_recipe(recipe, listen)
    made = missing_parents(recipe.out)
    folder = claim_folder(recipe.out)
    try:
        with _disk_errors_as_disk_failed(), locked(folder) as lock:
            write_recipe(recipe, folder / "recipe.toml")
            with EventLog(folder, listen) as event_log:
                sitting = Sitting(recipe=recipe, folder=folder, clock=clock, event_log=event_log, lock=lock)
                return _run_stages(sitting)
    except BaseException as error:
        if not _can_be_resumed(folder, error):
            shutil.rmtree(folder, ignore_errors=True)
            for parent in made:
                with contextlib.suppress(OSError):
                    parent.rmdir()
        raise


def resume(
    folder: str | Path, listen: Listener | None = None, started: float | None = None, exact: bool = False
) -> dict[str, Any]:
    """Resume a run that was interrupted, from wherever it was; returns what `result.json` holds.

    The time that it has used counts. A run that is finished stays as it is. With `exact` nothing that training depends on may
    have changed. Raises UserError and Interrupted.
    """
    recipe = resumable_recipe(folder)
    place = Path(folder).resolve()
    with _disk_errors_as_disk_failed(), locked(place) as lock:
        if is_finished(place):
            if listen is not None:
                listen(Notice(words=f"{folder} is finished: there is nothing to resume"))
            return read_result(place)
        remove_partial_files(place)
        recipe = dataclasses.replace(resolve_recipe(recipe), out=str(place))
        before = read_events(place)
        used = seconds_used(before)
        clock = Clock((time.monotonic() if started is None else started) - used, recipe.budget.time)
        with EventLog(place, listen) as event_log:
            event_log.emit(Resumed(seconds=used, **how_it_ended(before)))
            return _run_stages(
                Sitting(recipe=recipe, folder=place, clock=clock, event_log=event_log, lock=lock, exact=exact)
            )


def resumable_recipe(folder: str | Path) -> Recipe:
    """The recipe of a run that was begun. Raises UserError."""
    if not (Path(folder) / "recipe.toml").is_file():
        raise UserError(f"{folder} is not a run (no recipe.toml); give the folder that `proxtune train --out` made")
    names = (
        "recipe.toml",
        "journal.bin",
        "snapshots",
        "model",
        "metrics.jsonl",
        "learned.json",
        "result.json",
        "head.npz",
    )
    check_files(Path(folder), names)
    return read_recipe(Path(folder) / "recipe.toml")


def _can_be_resumed(folder: Path, error: BaseException) -> bool:
    """Whether `resume` would find something: what was learned, or a run that was stopped from outside."""
    stopped = isinstance(error, Interrupted | KeyboardInterrupt | DiskFailed) or getattr(error, "killed_by", None)
    stopped = stopped or (isinstance(error, StageHung) and error.cause == "stuck")  # one that was late has no time left
    began = not isinstance(error, UserError) and (folder / "journal.bin").exists()
    learned = (folder / "model").is_dir() or any(folder.glob("snapshots/*.safetensors"))
    return (folder / "recipe.toml").is_file() and bool(stopped or began or learned)


@contextmanager
def _disk_errors_as_disk_failed() -> Iterator[None]:
    """A disk that is full or fails is no fault of ours: the user is told."""
    try:
        yield
    except OSError as error:
        words = disk_error_message(error)
        if words is None:
            raise
        raise DiskFailed(words) from error


def _run_stages(sitting: Sitting) -> dict[str, Any]:
    """The stages of a run that are not done yet, one after another; `result.json` stands before the report drawn from it.

    Raises Interrupted, and StageHung where the watchdog had to end it; where any training step was made there is a model then and
    a report.
    """
    recipe, folder, clock = sitting.recipe, sitting.folder, sitting.clock
    try:
        fitted = fit_or_finish(sitting)
        sitting.emit_phase("baselines")
        compared = run_twice(sitting, BaselinesJob(folder=folder), "the baselines and the report are")
        events = read_events(folder)
        fit = dataclasses.replace(fitted.result, step_downs=tuple(step_downs_of(events, fitted.result.step_downs)))
        result = result_of(recipe, fit, compared, clock.elapsed) | {"interruptions": interruptions(events)}
        if fitted.hung is not None:
            result["hung"] = str(fitted.hung)
        (folder / "report.html").unlink(missing_ok=True)  # that of an earlier sitting would pass for this one's
        write_json(folder / "result.json", result)
        sitting.emit_phase("report")
        run_twice(sitting, ReportJob(folder=folder), "the report is")
        # the report is part of the time: the result on disk says when everything was there
        seconds = clock.elapsed
        by_phase = seconds_by_phase(read_events(folder), seconds)
        result["measured"] |= {"seconds": round(seconds, 2), "seconds_by_phase": by_phase}
        write_json(folder / "result.json", result)
        if fitted.hung is not None:
            sitting.event_log.emit(RunInterrupted(by="the watchdog", seconds=clock.elapsed))
            raise fitted.hung.explained(
                f"the best model so far, of step {fit.best_step}, was evaluated and is in {folder / 'model'}; "
                f"to resume: proxtune resume {recipe.out}"
            )
        if fit.status == "interrupted":
            raise Interrupted(f"interrupted; the best model so far is in {folder / 'model'}", fitted.interrupted_by)
    except Interrupted as stop:
        sitting.event_log.emit(RunInterrupted(by=signal.Signals(stop.by).name, seconds=clock.elapsed))
        raise Interrupted(f"{str(stop) or 'interrupted'}; to resume: proxtune resume {recipe.out}", stop.by) from None
    return result


def plan(recipe: Recipe, listen: Listener | None = None) -> Mapping[str, Any]:
    """What fits, what it would cost, what was refused and why. Leaves no files. Raises Infeasible.

    That planning takes longer than --time is no reason to end it: it says what would fit.
    """
    recipe = resolve_recipe(recipe, listen)
    with tempfile.TemporaryDirectory(prefix="proxtune-plan-") as name:
        folder = Path(name)
        write_recipe(recipe, folder / "recipe.toml")
        found = run_stage(FitJob(folder=folder, started=time.monotonic(), plan_only=True), listen).result
    if found["status"] == "infeasible":
        raise Infeasible(found)
    return found


def check(recipe: Recipe, listen: Listener | None = None) -> Mapping[str, Any]:
    """Whether the recipe's model can be trained on its data, and what it would see of them. Leaves no files.

    Without data the model is tried on a bundled sample. Raises UserError.
    """
    if not recipe.data:
        from proxtune.tasks.detection import sample_for

        task, sample = sample_for(find_model(recipe.model).folder)
        recipe = dataclasses.replace(recipe, task=task, data=str(sample))
    recipe = resolve_recipe(recipe, listen)
    with tempfile.TemporaryDirectory(prefix="proxtune-check-") as name:
        folder = Path(name)
        write_recipe(recipe, folder / "recipe.toml")
        return run_stage(CheckJob(folder=folder), listen).result


def resolve_recipe(recipe: Recipe, listen: Listener | None = None) -> Recipe:
    """The recipe with task and model chosen, its names checked, and its memory no larger than the limit around this process.

    Raises UserError.
    """
    check_recipe(recipe)
    check_names(recipe)
    recipe = _with_task(recipe, listen)
    check_names(recipe)
    outer = outer_limit_bytes(recipe.device)
    if outer is not None and (recipe.budget.memory is None or recipe.budget.memory > outer):
        budget = recipe.budget.with_memory(outer)
        recipe = dataclasses.replace(recipe, budget=budget)
    return dataclasses.replace(
        recipe,
        data=absolute(recipe.data),
        validation=None if recipe.validation is None else absolute(recipe.validation),
        model=recipe.model if recipe.model in ALIASES else absolute(recipe.model),
    )


def _with_task(recipe: Recipe, listen: Listener | None) -> Recipe:
    """The recipe with its task guessed, if need be, and said; and with the task's own model where none is named."""
    task = recipe.task
    if task is None:
        from proxtune.tasks.detection import DEFAULT_TASK, guess_task

        task, why = guess_task(recipe.data, text_column=recipe.text_column, label_column=recipe.label_column)
        if task != DEFAULT_TASK and listen is not None:
            listen(Notice(words=f"assuming --task {task}: {why}"))
    return dataclasses.replace(recipe, task=task, model=recipe.model or find_task(task).default_model)
