"""The end of a fit: score the final model on the validation rows, and save it; or the base model, where that is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.compression.size_constraint import NoSizeConstraint, SizeConstraint
from proxtune.config.plan import Plan
from proxtune.data.dataset import select_rows
from proxtune.export.merged_model import base_model
from proxtune.export.model_folder import save_model
from proxtune.pipeline.base_model import read_base_results, rows_of_result
from proxtune.runtime.inference import final_outputs, warm_up_forward
from proxtune.runtime.session import Session
from proxtune.storage.events import Notice
from proxtune.storage.result import LOST_TO_BASE
from proxtune.tasks.base import ModelAtHand


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Metrics of the validation rows, the task's own results, and the bytes of the weight files in `model/`."""

    metrics: Mapping[str, float]
    results: Mapping[str, Any]
    artifact_bytes: int


def evaluate_and_save(
    session: Session,
    plan: Plan,
    model: Any,
    constraint: SizeConstraint | NoSizeConstraint,
    weights: Path | None = None,
) -> Evaluated:
    """Evaluate in the dtype of the weights, as those who load the model will; then write `model/`.

    With `weights`, a folder that is spent, the model's weights lie in files there already.
    """
    task, data, phases, governor = session.task, session.data, session.phases, session.governor
    session.emit_phase("evaluate")
    phases.enter("evaluate")
    warm_up_forward(model, data.validation, data.pad_id, "fp32", governor)  # its kernels may be new to this process
    if task.traits.long_rows:
        governor.hold_if_roomy()
    else:
        governor.hold()
    tokens = plan.micro_batch * plan.max_length
    base = read_base_results(session.folder)
    rows = rows_of_result(session, plan, base)
    some = select_rows(data.validation, rows)
    found = final_outputs(model, some, data.pad_id, "fp32", tokens, governor)
    metrics = some.objective.score(found, some)
    at_hand = ModelAtHand(model=model, plan=plan, data=data, governor=governor)
    outputs = np.full((len(data.validation), *found.shape[1:]), np.nan, dtype=found.dtype)
    outputs[rows] = found
    results = task.results(at_hand, outputs, base)
    governor.release()  # a file cannot be written in smaller pieces
    lost = None if base is None else task.lost_to_base(data, results, base)
    session.emit_phase("save")
    phases.enter("save")
    if base is not None and lost is not None:
        words = f"what was learned is not better than the base model ({lost}): model/ holds the base model's weights"
        session.emit(Notice(words=words))
        metrics = base["metrics"]
        results = {**results, "answers": base["answers"], "judged_metrics": metrics, LOST_TO_BASE: lost}
        model, weights = base_model(model, plan, session)
    task.set_defaults(model, data)
    artifact_bytes = save_model(model, data.tokenizer, session.folder, constraint, weights)
    phases.leave()
    return Evaluated(metrics=metrics, results=results, artifact_bytes=artifact_bytes)
