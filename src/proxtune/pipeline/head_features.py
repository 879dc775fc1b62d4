"""The probe learns in two halves, with the fit of the head in a process between them (`methods/linear_head.py`).

`nno` begins with such a head too, fitted to as many rows as the plan says.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from proxtune.config.plan import Plan
from proxtune.data.dataset import Encoded, select_rows
from proxtune.methods.linear_head import FEATURES, HEAD, save_arrays
from proxtune.methods.probe import features, install_head
from proxtune.methods.registry import find_method
from proxtune.models.introspection import head_of
from proxtune.pipeline.result import FitStart
from proxtune.runtime.inference import forward_passes, warm_up_forward
from proxtune.runtime.model_setup import prepared
from proxtune.runtime.session import Session
from proxtune.storage.atomic import write_json
from proxtune.storage.result import FEATURES_RESULT


def needs_features(plan: Plan) -> bool:
    """Whether a fitted head is what the plan comes to, or begins from."""
    return find_method(plan.method).fits_head


def has_features(session: Session) -> bool:
    """Whether the first half is done."""
    return (session.folder / FEATURES_RESULT).is_file()


def save_features(session: Session, plan: Plan, model: Any, start: FitStart) -> None:
    """First half: features to disk, for the process that fits the head."""
    rows, phases, folder = session.data, session.phases, session.folder
    phases.enter("train")
    warm_up_forward(model, rows.train, rows.pad_id, plan.autocast, session.governor)
    session.governor.hold()
    tokens = plan.micro_batch * plan.max_length

    def features_of(data: Encoded) -> np.ndarray:
        passes = forward_passes(model, data, rows.pad_id, plan.autocast, tokens, session.governor)
        return features(model, passes, data.lengths)

    train = sample_rows(rows.train, plan.head_rows, session.recipe.seed) if plan.neighbours else rows.train
    arrays = {
        "train": features_of(train),
        "labels": train.labels,
        "held": features_of(rows.validation),
        "held_labels": rows.validation.labels,
        "classes": np.asarray(len(rows.labels)),
        "has_bias": np.asarray(head_of(model)[1].bias is not None),
    }
    if rows.knows_labels:
        arrays["words"] = head_of(model)[1].weight.detach().float().cpu().numpy()
    session.governor.release()
    save_arrays(folder / FEATURES, arrays)
    phases.leave()
    write_json(folder / FEATURES_RESULT, start.as_dict() | {"memory_bytes": phases.memory_bytes})


def sample_rows(data: Encoded, count: int, seed: int) -> Encoded:
    """So many rows, drawn at random; all of them in their own order where there are no more."""
    return data if count >= len(data) else select_rows(data, np.random.default_rng(seed).permutation(len(data))[:count])


def model_with_head(session: Session) -> tuple[FitStart, Any]:
    """Second half: what it began with, and the model with the fitted head, as the plan prepares it."""
    folder, phases = session.folder, session.phases
    saved = json.loads((folder / FEATURES_RESULT).read_text(encoding="utf-8"))
    start = FitStart.from_dict(saved)
    phases.enter("load")
    model = prepared(start.chosen, session)
    install_head(model, folder / HEAD)
    phases.leave()
    for phase, peak in saved["memory_bytes"].items():
        phases.memory_bytes[phase] = max(peak, phases.memory_bytes.get(phase, 0))
    session.governor.step_downs[:0] = start.step_downs
    return start, model


def remove_features(session: Session) -> None:
    """Remove what the halves gave each other."""
    for name in (FEATURES_RESULT, FEATURES, HEAD):
        (session.folder / name).unlink(missing_ok=True)
