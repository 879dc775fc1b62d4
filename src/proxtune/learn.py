"""The main path, in the process that learns: recipe → examples → task → model → plan → train → evaluate → artifact."""

from __future__ import annotations

import signal
from typing import Any

from proxtune.artifact import has_best, keep_best, return_to_best
from proxtune.cost import Survey, evaluations
from proxtune.durable import write_json
from proxtune.errors import Interrupted, PersonError
from proxtune.judge import judge_and_save
from proxtune.learn_probe import finish_probe, has_features, save_features
from proxtune.memory.allocator import unload_cold_code
from proxtune.memory.govern import is_refusal
from proxtune.memory.lean import without_sharding
from proxtune.methods import METHODS
from proxtune.plan import Plan, plan_as_dict
from proxtune.planner import choose, steps_of
from proxtune.session import Record, Session, prepared
from proxtune.settle import ending_seconds, plan_table, promised, refusal, settle, survey_of
from proxtune.train import Training, train


def learn(session: Session, plan_only: bool = False) -> Record:
    """Run the session's recipe in its folder; returns what was learned, ready for JSON.

    Raises PersonError when the budget does not do, Interrupted when nothing was learned.
    """
    recipe, folder = session.recipe, session.folder
    if has_features(session):
        return finish_probe(session)

    session.announce("plan")
    survey = survey_of(session)
    choice = choose(survey, recipe.budget, recipe.knobs, recipe.method)
    if choice.plan is not None:
        choice = settle(choice, survey, session)
    plan = choice.plan
    if plan is None:
        return refusal(choice)
    session.emit({"kind": "plan", **plan_table(choice)})
    if plan_only:
        return {"status": "planned", **plan_table(choice), "predicted": promised(plan)}
    write_json(folder / "plan.json", plan_table(choice))

    session.meter.give_back()
    unload_cold_code()  # as in the rehearsal, whose process began without these pages
    session.phases.enter("load")
    model = prepared(plan, session)
    session.phases.enter("prepare")
    settled = {"plan": plan_as_dict(plan), "predicted": promised(plan), "step_downs": session.governor.step_downs}
    if not METHODS[plan.method].uses_gradients:
        return save_features(session, plan, model, settled)

    progress = _train(session, plan, survey, model)
    return_to_best(model, folder)
    if plan.keep_adapter:
        with without_sharding():
            model.save_pretrained(str(folder / "adapter"))
    plain = METHODS[plan.method].finish(model, plan)
    return {**settled, **progress, **judge_and_save(session, plan, plain), "model_source": session.source.origin}


def _train(session: Session, plan: Plan, survey: Survey, model: Any) -> Record:
    """Train until the best weights are on disk; how far it came."""
    session.announce("train")
    session.phases.enter("train")
    task, governor, stop = session.task, session.governor, _Stop()
    most_steps = max(plan.steps, steps_of(plan, survey, session.recipe.knobs.epochs))
    training = Training(
        model, task.train, task.held, task.pad_id, session.recipe.seed, session.clock, ending_seconds(survey),
        evaluations(plan, survey), most_steps, governor, session.phases, lambda: keep_best(model, session.folder),
        stop.asked,
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
    governor.release()  # the optimizer is gone: its address space is not, and the snapshot is mapped beside it
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
