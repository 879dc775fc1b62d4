"""The main path, in the process that learns: recipe → examples → task → model → plan → train → evaluate → artifact."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from proxtune.constraint import Constraint, NoConstraint
from proxtune.cost import evaluations, judging_steps, milestone_seconds
from proxtune.durable import as_system_errors, write_json
from proxtune.errors import Interrupted, PersonError
from proxtune.judge import judge_and_save
from proxtune.learn_probe import begins_with_features, forget_features, has_features, model_with_head, save_features
from proxtune.memory.code import unload_cold_code
from proxtune.memory.govern import is_refusal
from proxtune.memory.lean import without_sharding
from proxtune.methods import METHODS
from proxtune.metrics import said
from proxtune.plan import Plan, plan_as_dict
from proxtune.planner import choose, steps_of
from proxtune.result import LEARNED, best_step, examples_seen, last_step, was_trained
from proxtune.resume import begun_before, keeper_of
from proxtune.rows import line_of
from proxtune.session import Record, Session, constraint_of, prepared
from proxtune.settle import ending_seconds, plan_table, promised, refusal, settle, survey_of
from proxtune.smaller import forget_start
from proxtune.snapshot import (
    BEST,
    STOPPED,
    forget_snapshots,
    has_weights,
    keep_weights,
    return_to_snapshot,
    return_to_weights,
)
from proxtune.steps import Training
from proxtune.train import train
from proxtune.untouched import ask_untouched


def learn(session: Session, plan_only: bool = False, exact: bool = False) -> Record:
    """Run the session's recipe in its folder, from where it is; returns what was learned, ready for JSON.

    Raises PersonError when the budget does not do, or nothing may be otherwise (`exact`) than when it began; Interrupted
    when nothing was learned.
    """
    if has_features(session):
        plan, settled, model = model_with_head(session)
        return _learned(session, plan, settled, model, constraint_of(session, plan, model), exact)
    begun = begun_before(session)
    if begun is not None:
        ask_untouched(session, begun[0])
        session.phases.enter("load")
        model = prepared(begun[0], session)
        return _learned(session, *begun, model, constraint_of(session, begun[0], model), exact)

    recipe = session.recipe
    session.announce("plan")
    survey = survey_of(session)
    choice = choose(survey, recipe.budget, recipe.knobs, recipe.method)
    if choice.plan is not None:
        choice = settle(choice, survey, session)
    if choice.plan is None:
        return refusal(choice)
    plan = choice.plan
    session.emit({"kind": "plan", **plan_table(choice)})
    if plan_only:
        return {"status": "planned", **plan_table(choice), "predicted": promised(plan)}
    write_json(session.folder / "plan.json", plan_table(choice))

    session.meter.give_back()
    unload_cold_code()  # as in the rehearsal, whose process began without these pages
    answering_seconds = ask_untouched(session, plan)
    session.phases.enter("load")
    model = prepared(plan, session)
    session.phases.enter("prepare")
    constraint = constraint_of(session, plan, model)
    pace = {
        "ending_seconds": ending_seconds(survey) + answering_seconds, "evaluations": evaluations(plan, survey),
        "most_steps": max(plan.steps, steps_of(plan, survey, recipe.knobs.epochs)),
        "milestone_seconds": milestone_seconds(plan, survey), "judging_steps": judging_steps(plan, survey),
    }  # fmt: skip
    settled = {
        "plan": plan_as_dict(plan), "predicted": promised(plan), "step_downs": session.governor.step_downs,
        "pace": pace,
    }  # fmt: skip
    if begins_with_features(plan):
        with refusals_told():
            return save_features(session, plan, model, settled)
    return _learned(session, plan, settled, model, constraint, exact)


def finish(session: Session) -> Record:
    """Without another step, what `learn` ends with: for a run whose process had to be ended. The journal stays as it is.

    It is the best point that was judged, else the last snapshot, else the fitted head. Raises PersonError where there is none.
    """
    if has_features(session):
        plan, settled, model = model_with_head(session)
    else:
        begun = begun_before(session)
        if begun is None:
            raise PersonError(f"{session.folder} has nothing that was learned; train again into another folder")
        plan, settled = begun
        session.phases.enter("load")
        model = prepared(plan, session)
    constraint = constraint_of(session, plan, model)
    if not METHODS[plan.method].makes_steps:
        return _learned(session, plan, settled, model, constraint, exact=False)
    if isinstance(constraint, Constraint) and constraint.is_kept:
        constraint.take_up()
    records = said(session.folder)
    kept = [name for name in (STOPPED, BEST) if has_weights(session.folder, name)]
    if kept:
        return_to_weights(model, session.folder, kept[0])
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


def _learned(
    session: Session, plan: Plan, settled: Record, model: Any, constraint: Constraint | NoConstraint, exact: bool
) -> Record:
    """Train where the method makes steps; then judge what was learned and save it."""
    folder = session.folder
    progress: Record = {
        "status": "done", "steps": 0, "examples_seen": len(session.task.train), "flops": plan.cost.flops,
    }  # fmt: skip
    if METHODS[plan.method].makes_steps:
        progress = _train(session, plan, settled, model, constraint, exact)
        return_to_weights(model, folder, STOPPED if has_weights(folder, STOPPED) else BEST)
    return _judged(session, plan, settled | progress, model, constraint)


def _judged(session: Session, plan: Plan, learned: Record, model: Any, constraint: Constraint | NoConstraint) -> Record:
    """Judge what was learned, as far as it came, and save it."""
    folder = session.folder
    if plan.keep_adapter:
        with without_sharding(), as_system_errors():
            model.save_pretrained(str(folder / "adapter"))
    plain = METHODS[plan.method].finish(model, plan)
    constraint.project()
    session.meter.give_back()  # codes, adapters and the optimizer's state have left holes
    judged = judge_and_save(session, plan, plain, constraint)
    learned = {**learned, **judged, "model_source": session.source.origin}
    write_json(folder / LEARNED, learned)
    if learned["status"] == "done":  # else it may be gone on with
        forget_features(session)
        forget_snapshots(folder)
        constraint.forget()
        forget_start(folder)
    return learned


def _train(
    session: Session, plan: Plan, settled: Record, model: Any, constraint: Constraint | NoConstraint, exact: bool
) -> Record:
    """Train until the best weights are on disk; how far it came."""
    session.announce("train")
    task, folder, governor, stop = session.task, session.folder, session.governor, _Stop()
    keeper = keeper_of(session, plan, settled, model, exact)
    session.phases.enter("resume" if keeper.goes_on else "train")
    pace = settled.pop("pace")
    training = Training(
        model, task.train, task.held, task.pad_id, session.recipe.seed, session.clock, pace["ending_seconds"],
        pace["evaluations"], pace["most_steps"], governor, session.phases, partial(keep_weights, model, folder, BEST),
        partial(keep_weights, model, folder, STOPPED), stop.asked, keeper, constraint,
        partial(line_of, task.split.train), pace.get("milestone_seconds", 0.0), pace.get("judging_steps", 0.0),
    )  # fmt: skip
    last: Record = {}
    status, unseen = "done", []
    try:
        with refusals_told():
            for record in train(plan, training):
                unseen.append(record)
                if keeper.commit():  # nothing is shown before it is on disk for good
                    last = _show(session, unseen, last)
    except Interrupted:
        status = "interrupted" if session.clock.left > 0 else "done"  # there would be no time left to go on
    keeper.close()
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
def refusals_told() -> Iterator[None]:
    """Where memory is refused and no smaller bite is left, say what to do. Raises PersonError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_refusal(error):
            raise
        raise PersonError(f"{error}: give a little more --memory, or a smaller --max-length") from error


def _show(session: Session, unseen: list[Record], last: Record) -> Record:
    """Emit the records that wait; returns the last step among them, else `last`."""
    for record in unseen:
        session.emit(record)
        if record["kind"] in ("step", "continued"):
            last = record
    unseen.clear()
    return last


class _Stop:
    """Remembers that the person (or the supervisor) asked the run to end; a second signal ends it at once."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: Any) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def asked(self) -> bool:
        return self._asked
