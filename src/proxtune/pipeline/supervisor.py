"""A run, from the recipe to the report. This process supervises: each stage below is a process of its own.

recipe → learn (examples → task → model → plan → train → evaluate → artifact) → baselines → report
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.config.recipe import Recipe, check
from proxtune.errors import DiskFailed, Interrupted, UserError
from proxtune.memory.devices.registry import outer_limit_bytes
from proxtune.models.aliases import ALIASES
from proxtune.pipeline.jobs import BaselinesJob, FitJob, HeadJob, Job, ReportJob
from proxtune.pipeline.names import check_names
from proxtune.pipeline.process import StageFailed, StageHung, StageOutcome, run_stage
from proxtune.pipeline.result import FitResult, result_of
from proxtune.runtime.clock import Clock
from proxtune.storage.atomic import disk_error_message, remove_partial_files, write_json
from proxtune.storage.event_log import EventLog, read_events, seconds_used
from proxtune.storage.events import Listener, Notice, Phase, Resumed, RunInterrupted, StepDown
from proxtune.storage.lock import locked
from proxtune.storage.result import (
    FEATURES_RESULT,
    best_step,
    finished_fit,
    how_it_ended,
    interruptions,
    is_finished,
    read_result,
    step_downs_of,
)
from proxtune.storage.run_folder import absolute, claim_folder, missing_parents, read_recipe, write_recipe
from proxtune.storage.safetensors_header import check_files
from proxtune.tasks.registry import find_task

_FIT_TRIES = 3
_SHORT_OF_MEMORY = ("SIGKILL", "SIGSEGV", "SIGBUS")  # the system's answer, and that of compilers which do not ask


class Infeasible(UserError):
    """No plan fits the budget; `record` has the nearest plan and the shortfall."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        super().__init__(record["message"])
        self.record = dict(record)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sitting:
    """What the stages of one sitting of a run share."""

    recipe: Recipe
    folder: Path
    clock: Clock
    event_log: EventLog
    lock: int
    exact: bool = False

    def emit_phase(self, phase: str) -> None:
        self.event_log.emit(Phase(phase=phase, seconds=self.clock.elapsed))


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
                sitting = _Sitting(recipe=recipe, folder=folder, clock=clock, event_log=event_log, lock=lock)
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
                _Sitting(recipe=recipe, folder=place, clock=clock, event_log=event_log, lock=lock, exact=exact)
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


def _run_stages(sitting: _Sitting) -> dict[str, Any]:
    """The stages of a run that are not done yet, one after another; `result.json` stands before the report drawn from it.

    Raises Interrupted, and StageHung where the watchdog had to end it; where any training step was made there is a model then and
    a report.
    """
    recipe, folder, clock = sitting.recipe, sitting.folder, sitting.clock
    try:
        finished = finished_fit(folder)
        fitted = _Fitted(FitResult.from_dict(finished)) if finished is not None else _fit_or_finish(sitting)
        sitting.emit_phase("baselines")
        compared = _run_twice(sitting, BaselinesJob(folder=folder), "the baselines and the report are")
        events = read_events(folder)
        fit = dataclasses.replace(fitted.result, step_downs=tuple(step_downs_of(events, fitted.result.step_downs)))
        result = result_of(recipe, fit, compared, clock.elapsed) | {"interruptions": interruptions(events)}
        if fitted.hung is not None:
            result["hung"] = str(fitted.hung)
        (folder / "report.html").unlink(missing_ok=True)  # that of an earlier sitting would pass for this one's
        write_json(folder / "result.json", result)
        sitting.emit_phase("report")
        _run_twice(sitting, ReportJob(folder=folder), "the report is")
        # the report is part of the time: the result on disk says when everything was there
        result["measured"]["seconds"] = round(clock.elapsed, 2)
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


@dataclass(frozen=True, slots=True)
class _Fitted:
    """What a fit came to, by which signal it was interrupted, and why the watchdog cut it short, if it did."""

    result: FitResult
    interrupted_by: int = signal.SIGINT
    hung: StageHung | None = None


def _fit_or_finish(sitting: _Sitting) -> _Fitted:
    """`_fit`; where the watchdog ended it, the best model until then, evaluated and saved in a fresh process.

    That has all the time of a run again: what evaluating takes was taken from the process that hung. Raises StageHung where
    no training step was made yet.
    """
    folder, recipe = sitting.folder, sitting.recipe
    to_resume = f"to resume: proxtune resume {recipe.out}"
    try:
        fitted = _fit(sitting)
        if fitted.hung is None:
            return fitted
        _emit_hung(sitting, fitted.hung)
    except StageHung as hung:
        _emit_hung(sitting, hung)
        if not _has_learned(folder):
            can_resume = hung.cause == "stuck" or (folder / "journal.bin").exists()
            how = to_resume if can_resume else "give more --time and train again"
            raise hung.explained(f"nothing was learned yet; {how}") from hung
        job = FitJob(folder=folder, started=sitting.clock.started, finish=True)
        clock = Clock(time.monotonic(), recipe.budget.time)
        try:
            outcome = run_stage(job, sitting.event_log.emit, lock=sitting.lock, clock=clock)
        except StageFailed as again:
            words = f"evaluating the best model so far in a fresh process failed too ({again}); {to_resume}"
            raise hung.explained(words) from again
        fitted = _Fitted(FitResult.from_dict(outcome.result), hung=hung)
    if fitted.result.status != "interrupted":
        return dataclasses.replace(fitted, hung=None)
    step = fitted.result.best_step
    step = best_step(read_events(folder)) if step is None else step
    return dataclasses.replace(fitted, result=dataclasses.replace(fitted.result, best_step=step))


def _has_learned(folder: Path) -> bool:
    """Whether there is something to finish a run with: weights, or a fitted head where it is that."""
    has_head = (folder / FEATURES_RESULT).is_file() and (folder / "head.npz").is_file()
    return has_head or any(folder.glob("snapshots/*.safetensors"))


def _emit_hung(sitting: _Sitting, hung: StageHung) -> None:
    seconds = round(sitting.clock.elapsed, 2)
    sitting.event_log.emit(Notice(words=str(hung), cause=hung.cause, seconds=seconds))


def _run_twice(sitting: _Sitting, job: Job, missing: str) -> Mapping[str, Any]:
    """A stage after the fit, once more where the watchdog ended it. Raises StageHung that says what is `missing`."""
    try:
        return run_stage(job, lock=sitting.lock, clock=sitting.clock).result
    except StageHung as hung:
        _emit_hung(sitting, hung.explained("it is tried once more"))
    try:
        return run_stage(job, lock=sitting.lock, clock=sitting.clock).result
    except StageHung as hung:
        raise hung.explained(
            f"this was the second time. The model is in {sitting.folder / 'model'}, {missing} missing; "
            f"to resume: proxtune resume {sitting.recipe.out}"
        ) from hung


def plan(recipe: Recipe, listen: Listener | None = None) -> Mapping[str, Any]:
    """What fits, what it would cost, what was refused and why. Leaves no files. Raises Infeasible.

    That planning takes longer than --time is no reason to end it: it says what would fit.
    """
    import tempfile

    recipe = resolve_recipe(recipe, listen)
    with tempfile.TemporaryDirectory(prefix="proxtune-plan-") as name:
        folder = Path(name)
        write_recipe(recipe, folder / "recipe.toml")
        found = run_stage(FitJob(folder=folder, started=time.monotonic(), plan_only=True), listen).result
    if found["status"] == "infeasible":
        raise Infeasible(found)
    return found


def resolve_recipe(recipe: Recipe, listen: Listener | None = None) -> Recipe:
    """The recipe with task and model chosen, its names checked, and its memory no larger than the limit around this process.

    Raises UserError.
    """
    check(recipe)
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


def _fit(sitting: _Sitting) -> _Fitted:
    """The stage `fit`, again with less memory when the system kills it; with the head fitted in between where one is."""
    killed: list[StepDown] = []
    for attempt in range(_FIT_TRIES):
        try:
            outcome, head_peak_bytes = _fit_once(sitting)
            break
        except StageFailed as failure:
            memory = sitting.recipe.budget.memory
            if failure.killed_by not in _SHORT_OF_MEMORY or memory is None or attempt == _FIT_TRIES - 1:
                raise
            smaller = round(0.9 * memory)
            step_down = StepDown(
                at_step=0,
                seconds=round(sitting.clock.elapsed, 2),
                before=f"{memory} bytes",
                after=f"{smaller} bytes",
                why=f"the process was killed by {failure.killed_by}",
            )
            killed.append(step_down)
            sitting.event_log.emit(step_down)
            recipe = dataclasses.replace(sitting.recipe, budget=sitting.recipe.budget.with_memory(smaller))
            sitting = dataclasses.replace(sitting, recipe=recipe)
            _begin_anew(sitting)
    if outcome.result["status"] == "infeasible":
        raise Infeasible(outcome.result)
    result = FitResult.from_dict(outcome.result)
    memory_bytes = dict(result.memory_bytes)
    memory_bytes["train"] = max(memory_bytes.get("train", 0), head_peak_bytes)
    step_downs = (*(event.as_dict() for event in killed), *result.step_downs)
    result = dataclasses.replace(result, memory_bytes=memory_bytes, step_downs=step_downs)
    return _Fitted(result, outcome.interrupted_by, outcome.cut_short)


def _fit_once(sitting: _Sitting) -> tuple[StageOutcome, int]:
    """What the stage ends with, and the peak of the process that fitted a head, if one did."""
    folder, emit = sitting.folder, sitting.event_log.emit
    job, shared = FitJob(folder=folder, started=sitting.clock.started, exact=sitting.exact), _shared(sitting)
    if not (folder / FEATURES_RESULT).is_file():
        outcome = run_stage(job, emit, **shared)
        if outcome.result["status"] != "features":
            return outcome, 0
    peak_bytes = 0
    if not (folder / "head.npz").is_file():
        peak_bytes = run_stage(HeadJob(folder=folder), **shared).result["peak_bytes"]
    return run_stage(job, emit, **shared), peak_bytes


def _shared(sitting: _Sitting) -> dict[str, Any]:
    return {"lock": sitting.lock, "clock": sitting.clock}


def _begin_anew(sitting: _Sitting) -> None:
    """Forget what was learned with too much memory: the next try learns from the beginning."""
    shutil.rmtree(sitting.folder / "snapshots", ignore_errors=True)
    for name in ("journal.bin", FEATURES_RESULT, "features.npz", "head.npz"):
        (sitting.folder / name).unlink(missing_ok=True)
    write_recipe(sitting.recipe, sitting.folder / "recipe.toml")
