"""What the base model scores, before training: for a gain to mean something.

In a process of its own: what answering leaves behind, kernels and the pages of the weight file, goes with it. And the weights
are as they were loaded, dense even where they become codes later: that takes what evaluating the merged model takes at the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.config.plan import Plan
from proxtune.data.dataset import select_rows
from proxtune.memory.fork import ChildKilled
from proxtune.runtime.inference import evaluated_rows, final_outputs, warm_up_forward
from proxtune.runtime.model_setup import loaded
from proxtune.runtime.session import Session, in_child_process
from proxtune.storage.atomic import write_json
from proxtune.storage.events import Notice
from proxtune.tasks.base import ModelAtHand

BASE_RESULTS = "before.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModelSeconds:
    """What evaluating the base model took, and so will take for the trained one.

    Its answers, and a pass over the validation rows that the result is scored on, which is 0 where it was in another type than
    the last one will be.
    """

    answers_seconds: float = 0.0
    validation_seconds: float = 0.0


def evaluate_base_model(session: Session, plan: Plan) -> BaseModelSeconds:
    """Score the base model once in a run and write it down; returns what that took.

    Nothing for tasks that do not compare it. Call it before this process holds the model. A killed process leaves no results:
    a warning says so, and the run continues.
    """
    if not session.traits.compares_base_model:
        return BaseModelSeconds()
    found = read_base_results(session.folder)
    if found is not None:
        return _seconds_of(found)
    session.emit_phase("untouched")  # the base model; run folders keep the older word
    began = time.monotonic()
    try:
        found = in_child_process(session, partial(_evaluate, session, plan))
    except ChildKilled as error:
        session.emit(Notice(words=f"the base model was not scored: its process was {error}"))
        return BaseModelSeconds(answers_seconds=time.monotonic() - began)
    memory = session.phases.memory_bytes
    for phase, peak in found.pop("memory_bytes").items():
        memory[phase] = max(peak, memory.get(phase, 0))
    write_json(session.folder / BASE_RESULTS, found)
    return _seconds_of(found)


def _seconds_of(found: Mapping[str, Any]) -> BaseModelSeconds:
    """Of results that an earlier version wrote, too."""
    return BaseModelSeconds(
        answers_seconds=float(found["seconds"]), validation_seconds=float(found.get("validation_seconds", 0.0))
    )


def rows_of_result(session: Session, plan: Plan, base_results: Mapping[str, Any] | None) -> np.ndarray:
    """Numbers of the validation rows on which the result is scored: those that the task asks for, and those of the training."""
    validation = session.data.validation
    return np.union1d(session.task.rows_of_results(session.data, base_results), evaluated_rows(validation, plan))


def read_base_results(folder: Path) -> dict[str, Any] | None:
    """What `evaluate_base_model` wrote; None where there is none that can be read."""
    try:
        found = json.loads((folder / BASE_RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and {"metrics", "seconds"} <= found.keys() else None


def _evaluate(session: Session, plan: Plan) -> dict[str, Any]:
    """The task's results, and the peak."""
    data, governor = session.data, session.governor
    session.phases.enter("load")
    model = loaded(plan, session).to(session.device.torch_device)
    session.phases.enter("evaluate")
    dtype = "fp32" if plan.loaded_dtype == plan.dtype else plan.dtype
    warm_up_forward(model, data.validation, data.pad_id, dtype, governor)
    governor.hold()
    at_hand = ModelAtHand(model=model, plan=plan, data=data, governor=governor, dtype=dtype)
    tokens, each_seconds = plan.micro_batch * plan.max_length, 0.0  # for each token of validation rows

    def outputs(rows: np.ndarray) -> np.ndarray:
        nonlocal each_seconds
        some, began = select_rows(data.validation, rows), time.monotonic()
        found = final_outputs(model, some, data.pad_id, dtype, tokens, governor)
        each_seconds = (time.monotonic() - began) / some.lengths.sum()
        return found

    results = session.task.base_results(at_hand, session.clock.left, outputs)
    governor.release()
    session.phases.leave()
    tokens_to_come = data.validation.lengths[rows_of_result(session, plan, results)].sum()
    return {
        **results,
        "validation_seconds": float(each_seconds * tokens_to_come) if dtype == "fp32" else 0.0,
        "memory_bytes": {phase: session.phases.memory_bytes[phase] for phase in ("load", "evaluate")},
    }
