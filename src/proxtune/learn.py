"""The main path, in the process that learns: recipe → examples → task → model → plan → train → evaluate → artifact."""

from __future__ import annotations

import signal
from functools import partial
from typing import Any

from proxtune.artifact import has_best, keep_best, return_to_best
from proxtune.cost import evaluations
from proxtune.durable import append, write_json
from proxtune.errors import Interrupted, PersonError
from proxtune.judge import judge_and_save
from proxtune.learn_probe import begins_with_features, forget_features, has_features, model_with_head, save_features
from proxtune.memory.code import unload_cold_code
from proxtune.memory.govern import is_refusal
from proxtune.memory.lean import without_sharding
from proxtune.methods import METHODS
from proxtune.plan import Plan, plan_as_dict
from proxtune.planner import choose, steps_of
from proxtune.session import Record, Session, prepared
from proxtune.settle import ending_seconds, plan_table, promised, refusal, settle, survey_of
from proxtune.steps import Training
from proxtune.train import train

_JOURNAL = "journal.bin"  # what each step of `nno` did, enough to do it again


def learn(session: Session, plan_only: bool = False) -> Record:
    """Run the session's recipe in its folder; returns what was learned, ready for JSON.

    Raises PersonError when the budget does not do, Interrupted when nothing was learned.
    """
    if has_features(session):
        plan, settled, model = model_with_head(session)
        return _learned(session, plan, settled, model)

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
    session.phases.enter("load")
    model = prepared(plan, session)
    session.phases.enter("prepare")
    pace = {
        "ending_seconds": ending_seconds(survey), "evaluations": evaluations(plan, survey),
        "most_steps": max(plan.steps, steps_of(plan, survey, recipe.knobs.epochs)),
    }  # fmt: skip
    settled = {
        "plan": plan_as_dict(plan), "predicted": promised(plan), "step_downs": session.governor.step_downs,
        "pace": pace,
    }  # fmt: skip
    if begins_with_features(plan):
        return save_features(session, plan, model, settled)
    return _learned(session, plan, settled, model)


def _learned(session: Session, plan: Plan, settled: Record, model: Any) -> Record:
    """Train where the method makes steps; then judge what was learned and save it."""
    folder, pace = session.folder, settled.pop("pace")
    progress: Record = {
        "status": "done", "steps": 0, "examples_seen": len(session.task.train), "flops": plan.cost.flops,
    }  # fmt: skip
    if METHODS[plan.method].makes_steps:
        progress = _train(session, plan, pace, model)
        return_to_best(model, folder)
    if plan.keep_adapter:
        with without_sharding():
            model.save_pretrained(str(folder / "adapter"))
    plain = METHODS[plan.method].finish(model, plan)
    learned = judge_and_save(session, plan, plain)
    forget_features(session)
    return {**settled, **progress, **learned, "model_source": session.source.origin}


def _train(session: Session, plan: Plan, pace: Record, model: Any) -> Record:
    """Train until the best weights are on disk; how far it came."""
    session.announce("train")
    session.phases.enter("train")
    task, governor, stop = session.task, session.governor, _Stop()
    training = Training(
        model, task.train, task.held, task.pad_id, session.recipe.seed, session.clock, pace["ending_seconds"],
        pace["evaluations"], pace["most_steps"], governor, session.phases, lambda: keep_best(model, session.folder),
        stop.asked, partial(append, session.folder / _JOURNAL),
    )  # fmt: skip
    last: Record = {}
    status = "done"
    try:
        for record in train(plan, training):
            session.emit(record)
            if record["kind"] == "step":
                last = record
    except Interrupted:
        status = "interrupted"
    except (MemoryError, RuntimeError) as error:
        if not is_refusal(error):
            raise
        raise PersonError(f"{error}: give a little more --memory, or a smaller --max-length") from error
    governor.release()  # the optimizer is gone: its address space is not
    if not has_best(session.folder):
        raise Interrupted("stopped before anything was learned")
    seen = last.get("examples_seen", 0)
    whole = plan.steps * plan.batch
    return {
        "status": status, "steps": last.get("step", 0), "examples_seen": seen,
        "flops": plan.cost.flops * (seen / whole if whole else 1.0), "step_downs": governor.step_downs,
    }  # fmt: skip


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
