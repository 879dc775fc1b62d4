"""A run, from the recipe to the report. This process supervises: each stage below is a process of its own.

recipe → learn (examples → task → model → plan → train → evaluate → artifact) → baselines → report
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxtune.config.recipe import Recipe, check
from proxtune.errors import DiskFailed, Interrupted, UserError
from proxtune.memory.process import outer_limit_bytes
from proxtune.models.aliases import ALIASES
from proxtune.pipeline.process import StageFailed, StageHung, run_stage
from proxtune.pipeline.result import result_of
from proxtune.runtime.clock import Clock
from proxtune.storage.atomic import disk_error_message, remove_partial_files, write_json
from proxtune.storage.event_log import EventLog, Listen, Record, read_events, seconds_used
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
_HUNG = "hung"  # in what was learned: what the watchdog said, and which step was kept
_SHORT_OF_MEMORY = ("SIGKILL", "SIGSEGV", "SIGBUS")  # the system's answer, and that of compilers which do not ask


class Infeasible(UserError):
    """No plan fits the budget; `record` has the nearest plan and the shortfall."""

    def __init__(self, record: Record) -> None:
        super().__init__(record["message"])
        self.record = record


def train(recipe: Recipe, listen: Listen | None = None, started: float | None = None) -> Record:
    """Carry a recipe out; returns what `result.json` holds."""
    started = time.monotonic() if started is None else started
    recipe = resolve_recipe(recipe, listen)
    made = missing_parents(recipe.out)
    folder = claim_folder(recipe.out)
    try:
        with _disk_errors_as_disk_failed(), locked(folder) as lock:
            write_recipe(recipe, folder / "recipe.toml")
            with EventLog(folder, listen) as event_log:
                return _run_stages(recipe, folder, started, event_log, {"lock": lock})
    except BaseException as error:
        if not _can_be_resumed(folder, error):
            shutil.rmtree(folder, ignore_errors=True)
            for parent in made:
                with contextlib.suppress(OSError):
                    parent.rmdir()
        raise


def resume(
    folder: str | Path, listen: Listen | None = None, started: float | None = None, exact: bool = False
) -> Record:
    """Go on with a run that was interrupted, from wherever it was; returns what `result.json` holds.

    The time that it has used counts. A run that is finished stays as it is. With `exact` nothing that training depends on may
    be otherwise than it was. Raises UserError and Interrupted.
    """
    recipe = resumable_recipe(folder)
    place = Path(folder).resolve()
    with _disk_errors_as_disk_failed(), locked(place) as lock:
        if is_finished(place):
            if listen is not None:
                listen({"kind": "warning", "words": f"{folder} is finished: there is nothing to do"})
            return read_result(place)
        remove_partial_files(place)
        recipe = dataclasses.replace(resolve_recipe(recipe), out=str(place))
        before = read_events(place)
        used = seconds_used(before)
        began = (time.monotonic() if started is None else started) - used
        with EventLog(place, listen) as event_log:
            event_log.emit({"kind": "resumed", "seconds": used, **how_it_ended(before)})
            return _run_stages(recipe, place, began, event_log, {"lock": lock, "exact": exact})


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
    """A disk that is full or fails is no fault of ours: the person is told."""
    try:
        yield
    except OSError as error:
        words = disk_error_message(error)
        if words is None:
            raise
        raise DiskFailed(words) from error


def _run_stages(recipe: Recipe, folder: Path, started: float, event_log: EventLog, job: Record) -> Record:
    """The stages of a run that are not done yet, one after another; `result.json` stands before the report drawn from it.

    Raises Interrupted, and StageHung where the watchdog had to end it, with a model and a report there if anything was learned.
    """
    clock = Clock(started, recipe.budget.time)
    try:
        fit_result = finished_fit(folder) or _learn_or_keep(recipe, folder, started, event_log, job)
        event_log.emit({"kind": "phase", "phase": "baselines", "seconds": time.monotonic() - started})
        compared = _run_twice("baselines", recipe, folder, clock, event_log, job)
        events = read_events(folder)
        fit_result["step_downs"] = step_downs_of(events, fit_result["step_downs"])
        result = result_of(recipe, fit_result, compared, time.monotonic() - started) | {
            "interruptions": interruptions(events)
        }
        hung: StageHung | None = fit_result.get(_HUNG)
        if hung is not None:
            result["hung"] = str(hung)
        (folder / "report.html").unlink(missing_ok=True)  # that of an earlier sitting would pass for this one's
        write_json(folder / "result.json", result)
        event_log.emit({"kind": "phase", "phase": "report", "seconds": time.monotonic() - started})
        _run_twice("report", recipe, folder, clock, event_log, job)
        # the report is part of the time: the result on disk says when everything was there
        result["measured"]["seconds"] = round(time.monotonic() - started, 2)
        write_json(folder / "result.json", result)
        if hung is not None:
            event_log.emit({"kind": "interrupted", "by": "the watchdog", "seconds": time.monotonic() - started})
            raise StageHung(f"{hung}. The best model so far, of step {fit_result['best_step']}, was judged and is in "
                            f"{folder / 'model'}; to go on: proxtune resume {recipe.out}", hung.cause)  # fmt: skip
        if result["status"] == "interrupted":
            by = fit_result.get("interrupted_by", signal.SIGINT)
            raise Interrupted(f"interrupted; the best model so far is in {folder / 'model'}", by)
    except Interrupted as stop:
        seconds = time.monotonic() - started
        event_log.emit({"kind": "interrupted", "by": signal.Signals(stop.by).name, "seconds": seconds})
        raise Interrupted(f"{str(stop) or 'interrupted'}; to go on: proxtune resume {recipe.out}", stop.by) from None
    return result


def _learn_or_keep(recipe: Recipe, folder: Path, started: float, event_log: EventLog, job: Record) -> Record:
    """`_run_fit_stage`; where the watchdog ended it, the best model until then, judged and saved in a fresh process.

    That has all the time of a run again: what judging takes was taken from the process that hung. Raises StageHung where
    nothing was learned yet.
    """
    try:
        learned = _run_fit_stage(recipe, folder, started, event_log, job)
    except StageHung as error:
        hung = error
        _say_hung(hung, event_log, started)
        if not _has_learned(folder):
            can_resume = hung.cause == "stuck" or (folder / "journal.bin").exists()
            how = f"to go on: proxtune resume {recipe.out}" if can_resume else "give more --time and train again"
            raise StageHung(f"{hung}. Nothing was learned yet; {how}", hung.cause) from error
        try:
            learned = run_stage(
                "learn", {"folder": str(folder), "started": started, "finish": True, **job}, event_log.emit,
                clock=Clock(time.monotonic(), recipe.budget.time),
            )  # fmt: skip
        except StageFailed as again:
            raise StageHung(f"{hung}. Judging the best model so far in a fresh process failed too ({again}); "
                            f"to go on: proxtune resume {recipe.out}", hung.cause) from again  # fmt: skip
    else:
        told = learned.pop("watchdog", None)
        if told is None:
            return learned
        hung = StageHung(told["words"], told["cause"])
        _say_hung(hung, event_log, started)
    if learned["status"] == "interrupted":
        learned.setdefault("best_step", best_step(read_events(folder)))
        learned[_HUNG] = hung
    return learned


def _has_learned(folder: Path) -> bool:
    """Whether there is something to finish a run with: weights, or a fitted head where it is that."""
    has_head = (folder / FEATURES_RESULT).is_file() and (folder / "head.npz").is_file()
    return has_head or any(folder.glob("snapshots/*.safetensors"))


def _say_hung(hung: StageHung, event_log: EventLog, started: float) -> None:
    event_log.emit(
        {"kind": "warning", "words": str(hung), "cause": hung.cause, "seconds": round(time.monotonic() - started, 2)}
    )


def _run_twice(name: str, recipe: Recipe, folder: Path, clock: Clock, event_log: EventLog, job: Record) -> Record:
    """A stage after learning, once more where the watchdog ended it. Raises StageHung that says what is missing."""
    try:
        return run_stage(name, {"folder": str(folder), **job}, clock=clock)
    except StageHung as hung:
        _say_hung(StageHung(f"{hung}; it is tried once more", hung.cause), event_log, clock.started)
    try:
        return run_stage(name, {"folder": str(folder), **job}, clock=clock)
    except StageHung as hung:
        missing = "the report is" if name == "report" else "the baselines and the report are"
        raise StageHung(f"{hung}, for the second time. The model is in {folder / 'model'}, {missing} missing; "
                        f"to go on: proxtune resume {recipe.out}", hung.cause) from hung  # fmt: skip


def plan(recipe: Recipe, listen: Listen | None = None) -> Record:
    """What fits, what it would cost, what was refused and why. Leaves no files. Raises Infeasible.

    That planning takes longer than --time is no reason to end it: it says what would do.
    """
    import tempfile

    recipe = resolve_recipe(recipe, listen)
    with tempfile.TemporaryDirectory(prefix="proxtune-plan-") as name:
        folder = Path(name)
        write_recipe(recipe, folder / "recipe.toml")
        job = {"folder": name, "started": time.monotonic(), "plan_only": True}
        found = run_stage("learn", job, listen)
    if found["status"] == "infeasible":
        raise Infeasible(found)
    return found


def resolve_recipe(recipe: Recipe, listen: Listen | None = None) -> Recipe:
    """The recipe with task and model chosen, its names checked, and its memory no larger than the limit around this process.

    Raises UserError.
    """
    check(recipe)
    recipe = _with_task(recipe, listen)
    check(recipe)
    outer = outer_limit_bytes() if recipe.device != "cuda" else None
    if outer is not None and (recipe.budget.memory is None or recipe.budget.memory > outer):
        budget = recipe.budget.with_memory(outer)
        recipe = dataclasses.replace(recipe, budget=budget)
    return dataclasses.replace(
        recipe,
        data=absolute(recipe.data),
        validation=None if recipe.validation is None else absolute(recipe.validation),
        model=recipe.model if recipe.model in ALIASES else absolute(recipe.model),
    )


def _with_task(recipe: Recipe, listen: Listen | None) -> Recipe:
    """The recipe with its task guessed, if need be, and said; and with the task's own model where none is named."""
    task = recipe.task
    if task is None:
        from proxtune.tasks.detection import DEFAULT_TASK, guess_task

        task, why = guess_task(recipe.data, text_column=recipe.text_column, label_column=recipe.label_column)
        if task != DEFAULT_TASK and listen is not None:
            listen({"kind": "warning", "words": f"the task is taken to be {task}, for {why} (--task to change)"})
    return dataclasses.replace(recipe, task=task, model=recipe.model or find_task(task).default_model)


def _run_fit_stage(recipe: Recipe, folder: Path, started: float, event_log: EventLog, more: Record) -> Record:
    """The stage `learn`, again with less memory when the system kills it; with the head fitted in between for `probe`."""
    killed: list[Record] = []
    clock = Clock(started, recipe.budget.time)
    for attempt in range(_FIT_TRIES):
        job = {"folder": str(folder), "started": started, **more}
        try:
            has_features = (folder / FEATURES_RESULT).is_file()
            fit_result: Record = {"status": "features"}
            if not has_features:
                fit_result = run_stage("learn", job, event_log.emit, clock=clock)
            if fit_result["status"] == "features":
                has_head = (folder / "head.npz").is_file()
                head = {"peak_bytes": 0} if has_head else run_stage("head", job, clock=clock)
                fit_result = run_stage("learn", job, event_log.emit, clock=clock)
                fit_result["memory_bytes"]["train"] = max(fit_result["memory_bytes"]["train"], head["peak_bytes"])
            break
        except StageFailed as failure:
            memory = recipe.budget.memory
            if failure.killed_by not in _SHORT_OF_MEMORY or memory is None or attempt == _FIT_TRIES - 1:
                raise
            smaller = round(0.9 * memory)
            step = {
                "kind": "step_down", "at_step": 0, "seconds": round(time.monotonic() - started, 2),
                "from": f"{memory} bytes", "to": f"{smaller} bytes", "why": f"the process was killed by {failure.killed_by}",
            }  # fmt: skip
            killed.append(step)
            event_log.emit(step)
            budget = recipe.budget.with_memory(smaller)
            recipe = dataclasses.replace(recipe, budget=budget)
            shutil.rmtree(folder / "snapshots", ignore_errors=True)  # the next try learns from the beginning
            for name in ("journal.bin", FEATURES_RESULT, "features.npz", "head.npz"):
                (folder / name).unlink(missing_ok=True)
            write_recipe(recipe, folder / "recipe.toml")
    if fit_result["status"] == "infeasible":
        raise Infeasible(fit_result)
    fit_result["step_downs"] = killed + fit_result["step_downs"]
    return fit_result
