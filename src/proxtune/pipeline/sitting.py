"""One sitting of a run: the fit and the stages after it, each tried again where the system or the watchdog ended it."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.config.recipe import Recipe
from proxtune.errors import UserError
from proxtune.pipeline.jobs import FitJob, Job
from proxtune.pipeline.process import StageFailed, StageHung, run_stage
from proxtune.pipeline.result import FitResult
from proxtune.runtime.clock import Clock
from proxtune.storage.event_log import EventLog, read_events
from proxtune.storage.events import Notice, Phase, StepDown
from proxtune.storage.result import HEAD, HEAD_RESULT, best_step, finished_fit, has_fitted_head
from proxtune.storage.run_folder import write_recipe

_FIT_TRIES = 3
_SHORT_OF_MEMORY = ("SIGKILL", "SIGSEGV", "SIGBUS")  # the system's answer, and that of compilers which do not ask


class Infeasible(UserError):
    """No plan fits the budget; `record` has the nearest plan and the shortfall."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        super().__init__(record["message"])
        self.record = dict(record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """What the stages of one sitting of a run share."""

    recipe: Recipe
    folder: Path
    clock: Clock
    event_log: EventLog
    lock: int
    exact: bool = False

    def emit_phase(self, phase: str) -> None:
        self.event_log.emit(Phase(phase=phase, seconds=self.clock.elapsed))


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit came to, by which signal it was interrupted, and why the watchdog cut it short, if it did."""

    result: FitResult
    interrupted_by: int = signal.SIGINT
    hung: StageHung | None = None


def fit_or_finish(sitting: Sitting) -> Fitted:
    """The fit, unless it is done already; where the watchdog ends it, a fresh process evaluates and saves the best model so far.

    That process has all the time of a run again: what evaluating takes was taken from the one that hung. Raises StageHung where
    no training step was made yet.
    """
    folder, recipe = sitting.folder, sitting.recipe
    finished = finished_fit(folder)
    if finished is not None:
        return Fitted(FitResult.from_dict(finished))
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
        fitted = Fitted(FitResult.from_dict(outcome.result), hung=hung)
    if fitted.result.status != "interrupted":
        return dataclasses.replace(fitted, hung=None)
    step = fitted.result.best_step
    step = best_step(read_events(folder)) if step is None else step
    return dataclasses.replace(fitted, result=dataclasses.replace(fitted.result, best_step=step))


def _has_learned(folder: Path) -> bool:
    """Whether there is something to finish a run with: weights, or a fitted head where it is that."""
    return has_fitted_head(folder) or any(folder.glob("snapshots/*.safetensors"))


def _emit_hung(sitting: Sitting, hung: StageHung) -> None:
    seconds = round(sitting.clock.elapsed, 2)
    sitting.event_log.emit(Notice(words=str(hung), cause=hung.cause, seconds=seconds))


def run_twice(sitting: Sitting, job: Job, missing: str) -> Mapping[str, Any]:
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


def _fit(sitting: Sitting) -> Fitted:
    """The stage `fit`, again with less memory when the system kills it."""
    killed: list[StepDown] = []
    for attempt in range(_FIT_TRIES):
        try:
            job = FitJob(folder=sitting.folder, started=sitting.clock.started, exact=sitting.exact)
            outcome = run_stage(job, sitting.event_log.emit, lock=sitting.lock, clock=sitting.clock)
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
    step_downs = (*(event.as_dict() for event in killed), *result.step_downs)
    result = dataclasses.replace(result, step_downs=step_downs)
    return Fitted(result, outcome.interrupted_by, outcome.cut_short)


def _begin_anew(sitting: Sitting) -> None:
    """Forget what was learned with too much memory: the next try learns from the beginning."""
    shutil.rmtree(sitting.folder / "snapshots", ignore_errors=True)
    for name in ("journal.bin", HEAD_RESULT, HEAD):
        (sitting.folder / name).unlink(missing_ok=True)
    write_recipe(sitting.recipe, sitting.folder / "recipe.toml")
