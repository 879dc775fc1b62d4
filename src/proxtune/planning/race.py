"""Racing: the contenders train in turn, each in a process that ends with it; the winner's steps are kept and go on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from proxtune.checkpoint.checkpointer import Checkpointer
from proxtune.checkpoint.history import History
from proxtune.checkpoint.snapshot import remove_snapshots, snapshots
from proxtune.config.plan import Plan
from proxtune.data.dataset import Encoded, evenly_spaced_rows, select_rows
from proxtune.errors import Interrupted, UserError
from proxtune.memory.fork import ChildKilled
from proxtune.memory.governor import is_refusal
from proxtune.planning.learning_curves import (
    Lap,
    can_continue,
    contenders,
    first_loss,
    loss_to_beat_half_way,
    winner,
)
from proxtune.planning.planner import Selection
from proxtune.planning.profile import Profile
from proxtune.planning.selection import select_plan
from proxtune.runtime.model_setup import prepared, stream_loaded
from proxtune.runtime.session import Session, in_child_process
from proxtune.storage.events import LapDone, StepEvent, Validation
from proxtune.storage.journal import Journal
from proxtune.training.context import Training
from proxtune.training.memory_retry import error_line
from proxtune.training.trainer import train
from proxtune.training.validation import validation_scores

_FOLDER = "race"
_ROWS = 16  # of validation: the same for all, so that little of a difference is chance


def race(choice: Selection, profile: Profile, session: Session) -> Selection:
    """The choice with the plan whose learning curve wins, where a race pays; what it has learned waits in `snapshots/`."""
    recipe = session.recipe
    plans, seconds = contenders(choice.fitting, profile, recipe.budget, recipe.method)
    if choice.plan is None or not plans:
        return choice
    session.emit_phase("race")
    laps: list[Lap] = []
    for number, plan in enumerate(plans):
        pace = _Pace(seconds=seconds, first_loss=first_loss(laps), half_way_loss=loss_to_beat_half_way(laps))
        lap = _lap_in_child(plan, number, pace, session)
        session.emit(_lap_done(lap))
        laps.append(lap)
    best = winner(laps, session.clock.left)
    if best.plan is not choice.plan:
        others = [plan for plan in choice.fitting if plan is not best.plan]
        tried = select_plan(replace(choice, plan=best.plan, fitting=[best.plan, *others]), profile, session)
        if tried.plan is not None and tried.plan.method == best.plan.method:
            choice = tried
        else:  # the winner fails its dry run: the plan that has passed one stands
            best = laps[0]
    if choice.plan is not None and not best.refused and can_continue(choice.plan, best.plan):
        _keep_steps(session.folder, laps.index(best))
    shutil.rmtree(session.folder / _FOLDER, ignore_errors=True)
    return replace(choice, laps=tuple(laps))


def _lap_done(lap: Lap) -> LapDone:
    return LapDone(
        plan=lap.plan.name,
        steps=lap.steps,
        seconds=tuple(round(at, 2) for at, _ in lap.losses),
        losses=tuple(loss for _, loss in lap.losses),
        refused=lap.refused,
    )


def remove_race(folder: Path) -> None:
    """Remove what a race left behind whose run was cut off before it trained."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)
    remove_snapshots(folder)


def _keep_steps(folder: Path, number: int) -> None:
    for path in snapshots(folder / _FOLDER / str(number)):
        (folder / path.parent.name).mkdir(exist_ok=True)
        path.replace(folder / path.parent.name / path.name)


def _lap_in_child(plan: Plan, number: int, pace: _Pace, session: Session) -> Lap:
    """A lap apart from this process; a contender that fails, or for which there is no memory, is out."""
    folder = session.folder / _FOLDER / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = in_child_process(session, partial(_lap, plan, pace, replace(session, folder=folder)))
    except (ChildKilled, UserError) as error:
        return Lap(plan=plan, refused=str(error))
    except RuntimeError as error:  # a fault of one method must not end a run that another can carry
        return Lap(plan=plan, refused=str(error).strip().splitlines()[-1])
    memory = session.phases.memory_bytes
    memory[_FOLDER] = max(found["peak_bytes"], memory.get(_FOLDER, 0))
    losses = tuple((float(at), float(loss)) for at, loss in found["losses"])
    return Lap(plan=plan, steps=found["steps"], losses=losses, refused=found["refused"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pace:
    """How long a lap is; the loss before the first step, where it is known, and what to have come to half-way to go on."""

    seconds: float
    first_loss: float | None
    half_way_loss: float


@dataclass(slots=True)
class _Stopwatch:
    """When a lap is half over, and when it is over. State: the losses so far, and the seconds that finding them took."""

    pace: _Pace
    loss: Callable[[], float]
    losses: list[tuple[float, float]] = field(default_factory=list)
    began: float = 0.0
    over_at: float | None = None  # seconds of training

    def begin(self) -> None:
        """Find the first loss; what is trained from now on counts."""
        self.losses.append((0.0, self.loss() if self.pace.first_loss is None else self.pace.first_loss))
        self.began = time.monotonic()

    def is_over(self) -> bool:
        """Whether the time is spent, or half of it in vain; half-way the loss is found, and that takes nothing of it."""
        trained, is_behind = time.monotonic() - self.began, False
        if len(self.losses) == 1 and trained > self.pace.seconds / 2:
            self.losses.append((trained, self.loss()))
            self.began = time.monotonic() - trained
            is_behind = self.losses[-1][1] > self.pace.half_way_loss
        self.over_at = trained if is_behind or trained >= self.pace.seconds else None
        return self.over_at is not None

    def end(self, loss: float | None) -> None:
        """Find the last loss, where it is not known yet."""
        at = time.monotonic() - self.began if self.over_at is None else self.over_at
        if at > self.losses[-1][0]:
            self.losses.append((at, self.loss() if loss is None else loss))


def _lap(plan: Plan, pace: _Pace, session: Session) -> dict[str, Any]:
    """Train for so many seconds; the losses, and the last snapshot on disk."""
    try:
        return _trained(plan, pace, session)
    except (MemoryError, RuntimeError) as error:
        if not is_refusal(error):
            raise
        return {"steps": 0, "losses": [], "peak_bytes": 0, "refused": error_line(error)}
    finally:
        session.governor.release()  # where a lap is in this process, the next loads its model


def _trained(plan: Plan, pace: _Pace, session: Session) -> dict[str, Any]:
    data, phases = session.data, session.phases
    phases.enter("load")
    model = prepared(plan, session)
    few = select_rows(data.validation, evenly_spaced_rows(len(data.validation), _ROWS))
    watch = _Stopwatch(pace=pace, loss=lambda: validation_scores(plan, training)["loss"])
    training = _training(plan, model, few, session, watch.is_over)
    steps, last = 0, None
    watch.begin()
    try:
        for event in train(plan, training):
            if isinstance(event, StepEvent):
                steps = event.step
            elif isinstance(event, Validation):
                last = event.metrics["loss"]
    except Interrupted:
        pass  # its time is over
    watch.end(last)
    training.checkpointer.close()
    phases.leave()
    return {"steps": steps, "losses": watch.losses, "peak_bytes": max(phases.memory_bytes.values()), "refused": ""}


def _training(plan: Plan, model: Any, validation: Encoded, session: Session, is_over: Callable[[], bool]) -> Training:
    """A training that keeps its snapshots and nothing else."""
    data = session.data
    history = History(plan=plan, selection={}, pins={}, rank=data.train.objective.rank)
    journal = Journal.create(session.folder / "journal.bin", b"{}")
    return Training(
        model=model,
        train=data.train,
        validation=validation,
        pad_id=data.pad_id,
        seed=session.recipe.seed,
        clock=session.clock,
        ending_seconds=0.0,
        evaluations=1,
        max_steps=plan.steps,
        governor=session.governor,
        phases=session.phases,
        save_best=lambda: None,
        save_stopped=lambda: None,
        interrupted=is_over,
        stream_weights=partial(stream_loaded, model, plan, session),
        checkpointer=Checkpointer(folder=session.folder, model=model, journal=journal, history=history),
    )
