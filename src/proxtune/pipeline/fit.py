"""The main path, in the process that fits: recipe → rows → model → plan → train → evaluate → save."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from proxtune.checkpoint.snapshot import (
    BEST,
    STOPPED,
    has_weights,
    remove_snapshots,
    restore_weights,
    return_to_snapshot,
    save_weights,
)
from proxtune.compression.shrink import remove_smaller_model
from proxtune.compression.size_constraint import NoSizeConstraint, SizeConstraint
from proxtune.config.plan import Plan, plan_as_dict
from proxtune.data.examples import row_name
from proxtune.errors import Interrupted, UserError
from proxtune.export.merged_model import merged_model
from proxtune.memory.governor import is_refusal
from proxtune.memory.lean_imports import without_sharding
from proxtune.memory.library_pages import unload_cold_code
from proxtune.methods.registry import find_method
from proxtune.pipeline.base_model import evaluate_base_model
from proxtune.pipeline.final_evaluation import evaluate_and_save
from proxtune.pipeline.fitted_head import fit_first_head, has_head, head_metrics, model_with_head, remove_head
from proxtune.pipeline.result import FitResult, FitStart, Progress, Timing
from proxtune.pipeline.resume import open_checkpointer, resumable_start
from proxtune.planning.cost_model import (
    evaluations,
    final_validations,
    head_seconds,
    size_phase_seconds,
    validation_steps,
)
from proxtune.planning.learning_curves import contenders
from proxtune.planning.plan_table import plan_table, promised, refusal
from proxtune.planning.planner import choose, steps_of
from proxtune.planning.profiler import make_profile
from proxtune.planning.race import race, remove_race
from proxtune.planning.selection import ending_seconds, select_plan
from proxtune.runtime.guard import explain_model_errors
from proxtune.runtime.inference import evaluated
from proxtune.runtime.model_setup import as_trained, constraint_of, loaded, prepared, stream_loaded
from proxtune.runtime.session import Session
from proxtune.runtime.trial import with_trial
from proxtune.storage.atomic import as_system_errors, write_json
from proxtune.storage.event_log import read_events
from proxtune.storage.events import Continued, Event, Notice, PlanChosen, StepEvent
from proxtune.storage.result import FIT_RESULT, best_step, examples_seen, last_step, was_trained
from proxtune.training.context import Training
from proxtune.training.trainer import train


def fit(session: Session, plan_only: bool = False, exact: bool = False) -> dict[str, Any]:
    """Run the session's recipe in its folder, from where it is; returns a result as plain values, told apart by their `status`.

    "done" and "interrupted" are a `FitResult`; "planned" and "infeasible" have the plans. Raises UserError when the budget does
    not do, or when something has changed that may not (`exact`); Interrupted when nothing was learned.
    """
    session = with_trial(session)
    if has_head(session):
        start, model = model_with_head(session)
        return _train_and_save(session, start, model, constraint_of(session, start.chosen, model), exact)
    resumed = resumable_start(session)
    if resumed is not None:
        evaluate_base_model(session, resumed.chosen)
        session.phases.enter("load")
        model = prepared(resumed.chosen, session)
        return _train_and_save(session, resumed, model, constraint_of(session, resumed.chosen, model), exact)

    recipe = session.recipe
    session.emit_phase("plan")
    with explain_model_errors(recipe.model):  # the profile and the dry run pass real rows forward and backward
        profile, told = make_profile(session), session.data.notes
        session = with_trial(session)
        for note in session.data.notes[len(told) :]:
            session.emit(Notice(words=note))
        choice = choose(profile, recipe.budget, recipe.knobs, recipe.method)
        if choice.plan is not None:
            plans, seconds = contenders(choice.fitting, profile, recipe.budget, recipe.method)
            choice = select_plan(choice, profile, session, len(plans) * seconds)
        if choice.plan is not None and not plan_only:
            remove_race(session.folder)
            choice = race(choice, profile, session)
    if choice.plan is None:
        return refusal(choice).as_dict()
    plan, table = choice.plan, plan_table(choice).as_dict()
    session.emit(PlanChosen(chosen=table["chosen"], table=tuple(table["table"])))
    if plan_only:
        return {"status": "planned", **table, "predicted": promised(plan)}
    write_json(session.folder / "plan.json", table)
    if plan.validation_rows:
        count, of = plan.validation_rows, len(session.data.validation)
        session.emit(
            Notice(words=f"while training, {count:,} of the {of:,} validation rows are evaluated: all take too long")
        )

    session.meter.trim()
    unload_cold_code()  # as in the dry run, whose process began without these pages
    base_model = evaluate_base_model(session, plan)
    timing = Timing(
        ending_seconds=ending_seconds(plan, profile) + base_model.answers_seconds,
        evaluations=evaluations(plan, profile),
        max_steps=max(plan.steps, steps_of(plan, profile, recipe.knobs.epochs)),
        size_phase_seconds=size_phase_seconds(plan, profile),
        validation_seconds=base_model.validation_seconds,
        validation_steps=validation_steps(plan, profile),
        final_validations=1.0 if base_model.validation_seconds else final_validations(plan, profile),
        head_seconds=head_seconds(plan, profile),
    )
    step_downs = tuple(session.governor.step_downs)
    start = FitStart(plan=plan_as_dict(plan), predicted=promised(plan), step_downs=step_downs, timing=timing)
    start, model = _model_to_train(session, start)
    return _train_and_save(session, start, model, constraint_of(session, plan, model), exact)


def _model_to_train(session: Session, start: FitStart) -> tuple[FitStart, Any]:
    """What the run begins with, and the model as the plan prepares it, with a fitted classification layer where there is one."""
    plan, phases = start.chosen, session.phases
    phases.enter("load")
    if plan.head_rows:
        model = loaded(plan, session).to(session.device.torch_device)
        session.emit_phase("train")
        with explain_out_of_memory():
            start = fit_first_head(session, start, model)
        phases.enter("prepare")
        return start, as_trained(plan, model, session)
    model = prepared(plan, session)
    phases.enter("prepare")
    return start, model


def finish(session: Session) -> dict[str, Any]:
    """Without another step, what `fit` ends with: for a run whose process had to be ended. The journal stays as it is.

    It is the best validated point, else the last snapshot, else the fitted head. Raises UserError where there is none.
    """
    session = with_trial(session)
    if has_head(session):
        start, model = model_with_head(session)
    else:
        resumed = resumable_start(session)
        if resumed is None:
            raise UserError(f"no training step was made in {session.folder}; train again into another folder")
        start = resumed
        session.phases.enter("load")
        model = prepared(start.chosen, session)
    plan, folder = start.chosen, session.folder
    constraint = constraint_of(session, plan, model)
    if not find_method(plan.method).makes_steps:
        return _train_and_save(session, start, model, constraint, exact=False)
    if constraint.is_saved:
        constraint.load()
    events = read_events(folder)
    kept = [name for name in (STOPPED, BEST) if has_weights(folder, name)]
    if kept:
        restore_weights(model, folder, kept[0])
        step = last_step(events) if kept[0] == STOPPED else best_step(events)
    else:
        step = return_to_snapshot(model, folder) or 0
    status = "done" if kept and was_trained(events) else "interrupted"
    progress = _progress(plan, status, last_step(events), examples_seen(events))
    return _evaluate_and_save(session, start, progress, model, constraint, best_step=step)


def _train_and_save(
    session: Session, start: FitStart, model: Any, constraint: SizeConstraint | NoSizeConstraint, exact: bool
) -> dict[str, Any]:
    """Train where the method makes steps; then evaluate what was learned and save it."""
    plan, folder = start.chosen, session.folder
    progress = Progress(status="done", steps=0, examples_seen=len(session.data.train), flops=plan.cost.flops)
    if find_method(plan.method).makes_steps:
        progress = _train(session, start, model, constraint, exact)
        if progress.status == "done" and best_step(read_events(folder)) == 0:
            before = "with its fitted classification layer alone" if plan.head_rows else "before training"
            words = f"no step made the model better on the validation rows: model/ holds it as it was {before}"
            session.emit(Notice(words=words))
        restore_weights(model, folder, STOPPED if has_weights(folder, STOPPED) else BEST)
    return _evaluate_and_save(session, start, progress, model, constraint)


def _evaluate_and_save(
    session: Session,
    start: FitStart,
    progress: Progress,
    model: Any,
    constraint: SizeConstraint | NoSizeConstraint,
    best_step: int | None = None,
) -> dict[str, Any]:
    """Evaluate what was learned, as far as it came, and save it."""
    plan, folder = start.chosen, session.folder
    if plan.keep_adapter:
        with without_sharding(), as_system_errors():
            model.save_pretrained(str(folder / "adapter"))
    plain, weights = merged_model(model, plan, session)
    constraint.project()
    session.meter.trim()  # codes, adapters and the optimizer's state have left holes
    evaluated = evaluate_and_save(session, plan, plain, constraint, weights)
    result = FitResult(
        status=progress.status,
        plan=start.plan,
        predicted=start.predicted,
        step_downs=tuple(event.as_dict() for event in session.governor.step_downs),
        steps=progress.steps,
        examples_seen=progress.examples_seen,
        flops=progress.flops,
        metrics=evaluated.metrics,
        artifact_bytes=evaluated.artifact_bytes,
        memory_bytes=session.phases.memory_bytes,
        size=constraint.as_dict(),
        data=session.task.describe(session.data),
        model_source=session.source.origin,
        results=evaluated.results,
        best_step=best_step,
    ).as_dict()
    write_json(folder / FIT_RESULT, result)
    if progress.status == "done":  # else it may be resumed
        remove_head(session)
        remove_snapshots(folder)
        constraint.remove_file()
        remove_smaller_model(folder)
    return result


def _train(
    session: Session, start: FitStart, model: Any, constraint: SizeConstraint | NoSizeConstraint, exact: bool
) -> Progress:
    """Train until the best weights are on disk; how far it came."""
    session.emit_phase("train")
    plan, data, folder, governor = start.chosen, session.data, session.folder, session.governor
    stop = _StopSignal()
    checkpointer = open_checkpointer(session, plan, start, model, exact)
    session.phases.enter("resume" if checkpointer.can_resume else "train")
    timing = start.timing
    training = Training(
        model=model,
        train=data.train,
        validation=evaluated(data.validation, plan),
        pad_id=data.pad_id,
        seed=session.recipe.seed,
        clock=session.clock,
        ending_seconds=timing.ending_seconds,
        evaluations=timing.evaluations,
        max_steps=timing.max_steps,
        governor=governor,
        phases=session.phases,
        save_best=partial(save_weights, model, folder, BEST),
        save_stopped=partial(save_weights, model, folder, STOPPED),
        interrupted=stop.is_requested,
        checkpointer=checkpointer,
        constraint=constraint,
        where=partial(row_name, data.split.train),
        stream_weights=partial(stream_loaded, model, plan, session),
        size_phase_seconds=timing.size_phase_seconds,
        validation_seconds=timing.validation_seconds,
        validation_steps=timing.validation_steps,
        final_validations=timing.final_validations,
        validates_start=session.traits.validates_start,
        first_metrics=head_metrics(session) if session.structure is None else None,
    )
    last: StepEvent | Continued | None = None
    status, unseen = "done", list[Event]()
    try:
        with explain_out_of_memory():
            for event in train(plan, training):
                unseen.append(event)
                if checkpointer.commit():  # nothing is shown before it is on disk for good
                    last = _show(session, unseen, last)
    except Interrupted:
        status = "interrupted" if session.clock.left > 0 else "done"  # there would be no time left to resume
    checkpointer.close()
    last = _show(session, unseen, last)
    governor.release()  # the optimizer is gone: its address space is not
    if (
        governor.step_downs
    ):  # under the limit no new thread may have been had, and one that was refused compiles no more
        governor.thread.replace()
    if not (has_weights(folder, BEST) or has_weights(folder, STOPPED)):
        raise Interrupted("stopped before the first training step")
    seen = 0 if last is None else last.examples_seen or 0
    return _progress(plan, status, 0 if last is None else last.step, seen)


def _progress(plan: Plan, status: str, steps: int, examples_seen: int) -> Progress:
    planned = plan.steps * plan.batch
    flops = plan.cost.flops * (examples_seen / planned if planned else 1.0)
    return Progress(status=status, steps=steps, examples_seen=examples_seen, flops=flops)


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Where memory is refused and no smaller micro-batch is left, say what to do. Raises UserError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_refusal(error):
            raise
        raise UserError(f"{error}; give more --memory or a smaller --max-length") from error


def _show(session: Session, unseen: list[Event], last: StepEvent | Continued | None) -> StepEvent | Continued | None:
    """Emit the events that wait; returns the last step among them, else `last`."""
    for event in unseen:
        session.emit(event)
        if isinstance(event, StepEvent | Continued):
            last = event
    unseen.clear()
    return last


class _StopSignal:
    """Remembers that the user (or the supervisor) asked the run to end; a second signal ends it at once."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: Any) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def is_requested(self) -> bool:
        return self._asked
