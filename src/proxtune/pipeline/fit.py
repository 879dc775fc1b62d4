"""The main path, in the process that learns: recipe → examples → task → model → plan → train → evaluate → artifact."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from proxtune.checkpoint.snapshot import BEST, STOPPED, forget_snapshots, has_weights, keep_weights, return_to_weights
from proxtune.compression.shrink import forget_start
from proxtune.compression.size_constraint import Constraint, NoConstraint
from proxtune.config.plan import Plan, plan_as_dict
from proxtune.errors import Interrupted, PersonError
from proxtune.memory.governor import is_refusal
from proxtune.memory.lean_imports import without_sharding
from proxtune.memory.library_pages import unload_cold_code
from proxtune.methods.registry import METHODS
from proxtune.pipeline.base_model import ask_untouched
from proxtune.pipeline.final_evaluation import judge_and_save
from proxtune.pipeline.head_features import (
    begins_with_features,
    forget_features,
    has_features,
    model_with_head,
    save_features,
)
from proxtune.pipeline.resume import begun_before, keeper_of
from proxtune.planning.cost_model import evaluations, judging_steps, milestone_seconds
from proxtune.planning.plan_table import plan_table, promised, refusal
from proxtune.planning.planner import choose, steps_of
from proxtune.planning.profiler import survey_of
from proxtune.planning.selection import ending_seconds, settle
from proxtune.runtime.model_setup import constraint_of, prepared
from proxtune.runtime.session import Record, Session
from proxtune.storage.atomic import as_system_errors, write_json
from proxtune.storage.result import LEARNED
from proxtune.tasks.loading import line_of
from proxtune.training.context import Training
from proxtune.training.trainer import train


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
    if plan.keep_adapter:
        with without_sharding(), as_system_errors():
            model.save_pretrained(str(folder / "adapter"))
    plain = METHODS[plan.method].finish(model, plan)
    constraint.project()
    session.meter.give_back()  # codes, adapters and the optimizer's state have left holes
    judged = judge_and_save(session, plan, plain, constraint)
    learned = {**settled, **progress, **judged, "model_source": session.source.origin}
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
        status = "interrupted"
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
