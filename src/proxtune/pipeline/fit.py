"""The main path, in the process that learns: recipe → examples → task → model → plan → train → evaluate → artifact."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from proxtune.checkpoint.snapshot import (
    BEST,
    STOPPED,
    remove_snapshots,
    has_weights,
    save_weights,
    return_to_snapshot,
    restore_weights,
)
from proxtune.compression.shrink import remove_smaller_model
from proxtune.compression.size_constraint import NoSizeConstraint, SizeConstraint
from proxtune.config.plan import Plan, plan_as_dict
from proxtune.data.examples import row_name
from proxtune.errors import Interrupted, UserError
from proxtune.memory.governor import is_refusal
from proxtune.memory.lean_imports import without_sharding
from proxtune.memory.library_pages import unload_cold_code
from proxtune.methods.registry import METHODS
from proxtune.pipeline.base_model import evaluate_base_model
from proxtune.pipeline.final_evaluation import evaluate_and_save
from proxtune.pipeline.head_features import (
    has_features,
    model_with_head,
    needs_features,
    remove_features,
    save_features,
)
from proxtune.pipeline.resume import open_checkpointer, resumable_plan
from proxtune.planning.cost_model import evaluations, size_phase_seconds, validation_steps
from proxtune.planning.plan_table import plan_table, promised, refusal
from proxtune.planning.planner import choose, steps_of
from proxtune.planning.profiler import make_profile
from proxtune.planning.selection import ending_seconds, select_plan
from proxtune.runtime.model_setup import constraint_of, prepared
from proxtune.runtime.session import Record, Session
from proxtune.storage.atomic import as_system_errors, write_json
from proxtune.storage.event_log import read_events
from proxtune.storage.result import FIT_RESULT, best_step, examples_seen, last_step, was_trained
from proxtune.training.context import Training
from proxtune.training.trainer import train


def fit(session: Session, plan_only: bool = False, exact: bool = False) -> Record:
    """Run the session's recipe in its folder, from where it is; returns what was learned, ready for JSON.

    Raises UserError when the budget does not do, or nothing may be otherwise (`exact`) than when it began; Interrupted
    when nothing was learned.
    """
    if has_features(session):
        plan, selection, model = model_with_head(session)
        return _train_and_save(session, plan, selection, model, constraint_of(session, plan, model), exact)
    resumed = resumable_plan(session)
    if resumed is not None:
        evaluate_base_model(session, resumed[0])
        session.phases.enter("load")
        model = prepared(resumed[0], session)
        return _train_and_save(session, *resumed, model, constraint_of(session, resumed[0], model), exact)

    recipe = session.recipe
    session.emit_phase("plan")
    profile = make_profile(session)
    choice = choose(profile, recipe.budget, recipe.knobs, recipe.method)
    if choice.plan is not None:
        choice = select_plan(choice, profile, session)
    if choice.plan is None:
        return refusal(choice)
    plan = choice.plan
    session.emit({"kind": "plan", **plan_table(choice)})
    if plan_only:
        return {"status": "planned", **plan_table(choice), "predicted": promised(plan)}
    write_json(session.folder / "plan.json", plan_table(choice))

    session.meter.trim()
    unload_cold_code()  # as in the rehearsal, whose process began without these pages
    base_model_seconds = evaluate_base_model(session, plan)
    session.phases.enter("load")
    model = prepared(plan, session)
    session.phases.enter("prepare")
    constraint = constraint_of(session, plan, model)
    timing = {
        "ending_seconds": ending_seconds(profile) + base_model_seconds, "evaluations": evaluations(plan, profile),
        "most_steps": max(plan.steps, steps_of(plan, profile, recipe.knobs.epochs)),
        "milestone_seconds": size_phase_seconds(plan, profile), "judging_steps": validation_steps(plan, profile),
    }  # fmt: skip
    selection = {
        "plan": plan_as_dict(plan), "predicted": promised(plan), "step_downs": session.governor.step_downs,
        "pace": timing,
    }  # fmt: skip
    if needs_features(plan):
        with explain_out_of_memory():
            return save_features(session, plan, model, selection)
    return _train_and_save(session, plan, selection, model, constraint, exact)


def finish(session: Session) -> Record:
    """Without another step, what `fit` ends with: for a run whose process had to be ended. The journal stays as it is.

    It is the best point that was judged, else the last snapshot, else the fitted head. Raises UserError where there is none.
    """
    if has_features(session):
        plan, settled, model = model_with_head(session)
    else:
        begun = resumable_plan(session)
        if begun is None:
            raise UserError(f"{session.folder} has nothing that was learned; train again into another folder")
        plan, settled = begun
        session.phases.enter("load")
        model = prepared(plan, session)
    constraint = constraint_of(session, plan, model)
    if not METHODS[plan.method].makes_steps:
        return _train_and_save(session, plan, settled, model, constraint, exact=False)
    if isinstance(constraint, SizeConstraint) and constraint.is_kept:
        constraint.load()
    records = read_events(session.folder)
    kept = [name for name in (STOPPED, BEST) if has_weights(session.folder, name)]
    if kept:
        restore_weights(model, session.folder, kept[0])
        step = last_step(records) if kept[0] == STOPPED else best_step(records)
    else:
        step = return_to_snapshot(model, session.folder) or 0
    settled.pop("pace", None)
    seen, whole = examples_seen(records), plan.steps * plan.batch
    progress: Record = {
        "status": "done" if kept and was_trained(records) else "interrupted", "steps": last_step(records),
        "examples_seen": seen, "flops": plan.cost.flops * (seen / whole if whole else 1.0),
        "step_downs": session.governor.step_downs,
    }  # fmt: skip
    return _judged(session, plan, settled | progress, model, constraint) | {"best_step": step}


def _train_and_save(
    session: Session, plan: Plan, selection: Record, model: Any, constraint: SizeConstraint | NoSizeConstraint, exact: bool
) -> Record:
    """Train where the method makes steps; then judge what was learned and save it."""
    folder = session.folder
    progress: Record = {
        "status": "done", "steps": 0, "examples_seen": len(session.data.train), "flops": plan.cost.flops,
    }  # fmt: skip
    if METHODS[plan.method].makes_steps:
        progress = _train(session, plan, selection, model, constraint, exact)
        restore_weights(model, folder, STOPPED if has_weights(folder, STOPPED) else BEST)
    return _judged(session, plan, selection | progress, model, constraint)


def _judged(session: Session, plan: Plan, learned: Record, model: Any, constraint: SizeConstraint | NoSizeConstraint) -> Record:
    """Judge what was learned, as far as it came, and save it."""
    folder = session.folder
    if plan.keep_adapter:
        with without_sharding(), as_system_errors():
            model.save_pretrained(str(folder / "adapter"))
    plain = METHODS[plan.method].finish(model, plan)
    constraint.project()
    session.meter.trim()  # codes, adapters and the optimizer's state have left holes
    judged = evaluate_and_save(session, plan, plain, constraint)
    learned = {**learned, **judged, "model_source": session.source.origin}
    write_json(folder / FIT_RESULT, learned)
    if learned["status"] == "done":  # else it may be gone on with
        remove_features(session)
        remove_snapshots(folder)
        constraint.remove_file()
        remove_smaller_model(folder)
    return learned


def _train(
    session: Session, plan: Plan, selection: Record, model: Any, constraint: SizeConstraint | NoSizeConstraint, exact: bool
) -> Record:
    """Train until the best weights are on disk; how far it came."""
    session.emit_phase("train")
    data, folder, governor, stop = session.data, session.folder, session.governor, _StopSignal()
    checkpointer = open_checkpointer(session, plan, selection, model, exact)
    session.phases.enter("resume" if checkpointer.can_resume else "train")
    timing = selection.pop("pace")
    training = Training(
        model, data.train, data.validation, data.pad_id, session.recipe.seed, session.clock, timing["ending_seconds"],
        timing["evaluations"], timing["most_steps"], governor, session.phases, partial(save_weights, model, folder, BEST),
        partial(save_weights, model, folder, STOPPED), stop.is_requested, checkpointer, constraint,
        partial(row_name, data.split.train), timing.get("milestone_seconds", 0.0), timing.get("judging_steps", 0.0),
    )  # fmt: skip
    last: Record = {}
    status, unseen = "done", []
    try:
        with explain_out_of_memory():
            for record in train(plan, training):
                unseen.append(record)
                if checkpointer.commit():  # nothing is shown before it is on disk for good
                    last = _show(session, unseen, last)
    except Interrupted:
        status = "interrupted" if session.clock.left > 0 else "done"  # there would be no time left to go on
    checkpointer.close()
    last = _show(session, unseen, last)
    governor.release()  # the optimizer is gone: its address space is not
    if not (has_weights(folder, BEST) or has_weights(folder, STOPPED)):
        raise Interrupted("stopped before anything was learned")
    seen = last.get("examples_seen", 0)
    whole = plan.steps * plan.batch
    return {
        "status": status, "steps": last.get("step", 0), "examples_seen": seen,
        "flops": plan.cost.flops * (seen / whole if whole else 1.0), "step_downs": governor.step_downs,
    }  # fmt: skip


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Where memory is refused and no smaller bite is left, say what to do. Raises UserError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_refusal(error):
            raise
        raise UserError(f"{error}: give a little more --memory, or a smaller --max-length") from error


def _show(session: Session, unseen: list[Record], last: Record) -> Record:
    """Emit the records that wait; returns the last step among them, else `last`."""
    for record in unseen:
        session.emit(record)
        if record["kind"] in ("step", "continued"):
            last = record
    unseen.clear()
    return last


class _StopSignal:
    """Remembers that the person (or the supervisor) asked the run to end; a second signal ends it at once."""

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
