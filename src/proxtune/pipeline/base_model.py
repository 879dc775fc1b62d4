"""What the untouched model answers, before anything is learned: for a gain to mean something.

In a process of its own: what answering leaves behind, kernels and the pages of the weight file, goes with it. And the weights
are as they were loaded, dense even where they are to be held as codes: that takes what judging the merged model takes at the end.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

from proxtune.checkpoint.checkpointer import warning
from proxtune.config.plan import Plan
from proxtune.memory.fork import ChildKilled
from proxtune.pipeline.final_evaluation import validation_answers
from proxtune.runtime.inference import warm_up_forward, final_outputs
from proxtune.runtime.model_setup import loaded
from proxtune.runtime.session import Record, Session, in_child_process
from proxtune.tasks.base import objective_of
from proxtune.tasks.generation.samples import VALIDATION_ANSWERS, save_base_answers, load_base_answers

_FEW = 4  # rows that are answered to see how long one takes
_SHARE = 1 / 12  # of the time that is left, for answers before learning, and as much after it


def evaluate_base_model(session: Session, plan: Plan) -> float:
    """Let the model answer, once in a run, and write it down; returns the seconds that took. Nothing for classes.

    Call it before this process holds the model. A killed process leaves no answers: that is said, and the run goes on.
    """
    if not session.task.generates:
        return 0.0
    found = load_base_answers(session.folder)
    if found is not None:
        return float(found["seconds"])
    session.emit_phase("untouched")
    began = time.monotonic()
    try:
        found = in_child_process(session, partial(_evaluate_base_model, session, plan))
    except ChildKilled as error:
        session.emit(warning(f"the untouched model was not asked: it was {error}"))
        return time.monotonic() - began
    memory = session.phases.memory_bytes
    memory["evaluate"] = max(found.pop("memory_bytes"), memory.get("evaluate", 0))
    save_base_answers(session.folder, found)
    return float(found["seconds"])


def _affordable_answers(session: Session, plan: Plan, model: Any, dtype: str) -> int:
    """How many rows are answered before learning and again after it: by what a few take, each time in a share of what is left."""
    left = session.clock.left
    if math.isinf(left):
        return VALIDATION_ANSWERS
    began = time.monotonic()
    few = validation_answers(session, plan, model, dtype, _FEW)
    each = (time.monotonic() - began) / len(few)
    return max(len(few), min(VALIDATION_ANSWERS, int(_SHARE * left / each)))


def _evaluate_base_model(session: Session, plan: Plan) -> Record:
    """The answers to the judged rows, the scores of all rows, the seconds that the answers took, and the peak."""
    task, governor = session.task, session.governor
    session.phases.enter("evaluate")
    model = loaded(plan, session).to(session.device)
    dtype = "fp32" if plan.loaded_dtype == plan.dtype else plan.dtype
    warm_up_forward(model, task.validation, task.pad_id, dtype, governor)
    governor.hold()
    count = _affordable_answers(session, plan, model, dtype)
    began = time.monotonic()
    answers = validation_answers(session, plan, model, dtype, count)
    seconds = time.monotonic() - began
    tokens = plan.micro_batch * plan.max_length
    outputs = final_outputs(model, task.validation, task.pad_id, dtype, tokens, governor)
    governor.release()
    session.phases.leave()
    return {
        "answers": answers, "metrics": objective_of(task.validation).score(outputs, task.validation), "seconds": seconds,
        "memory_bytes": session.phases.memory_bytes["evaluate"],
    }  # fmt: skip
