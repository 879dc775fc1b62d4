"""What a run begins with whose classification layer is fitted before the first step, kept so that a resume begins there too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from proxtune.config.plan import Plan
from proxtune.data.dataset import Encoded, select_rows
from proxtune.methods.linear_head import (
    LabelledFeatures,
    LinearHead,
    features_of,
    fit_head,
    head_at_hand,
    install_head,
    load_head,
    save_head,
)
from proxtune.models.introspection import head_of
from proxtune.pipeline.result import FitStart
from proxtune.runtime.inference import forward_passes, warm_up_forward
from proxtune.runtime.model_setup import prepared
from proxtune.runtime.session import Session
from proxtune.storage.atomic import write_json
from proxtune.storage.events import Notice
from proxtune.storage.result import HEAD, HEAD_RESULT, has_fitted_head
from proxtune.training.memory_retry import run_within_limit


def has_head(session: Session) -> bool:
    """Whether the layer is fitted already."""
    return has_fitted_head(session.folder)


def fit_first_head(session: Session, start: FitStart, model: Any) -> None:
    """Fit the layer to as many rows as the plan says, put it into the model, and keep it with what the run begins with."""
    plan, phases, folder = start.chosen, session.phases, session.folder
    phases.enter("train")
    warm_up_forward(model, session.data.train, session.data.pad_id, plan.autocast, session.governor)
    session.governor.hold()
    head, validation = _fitted(session, plan, model)
    session.governor.release()
    install_head(model, head)
    rows = session.data.validation
    metrics = rows.objective.score(validation.features @ head.weight.T + head.bias, rows)
    phases.leave()
    save_head(folder, head)
    write_json(folder / HEAD_RESULT, start.as_dict() | {"memory_bytes": phases.memory_bytes, "metrics": metrics})


def head_metrics(session: Session) -> Mapping[str, float] | None:
    """What the fitted layer scores on the validation rows; None where none was fitted."""
    if not has_head(session):
        return None
    found: dict[str, float] | None = _saved(session).get("metrics")
    return found


def _saved(session: Session) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((session.folder / HEAD_RESULT).read_text(encoding="utf-8"))
    return found


def _fitted(session: Session, plan: Plan, model: Any) -> tuple[LinearHead, LabelledFeatures]:
    """The layer, and the validation rows as it sees them."""
    rows = session.data
    few = sample_rows(rows.train, plan.head_rows, session.recipe.seed)
    if len(few) < len(rows.train):
        words = f"the classification layer is fitted to {len(few):,} of {len(rows.train):,} rows, drawn at random"
        session.emit(Notice(words=words))

    def labelled(data: Encoded) -> LabelledFeatures:
        tokens = plan.micro_batch * plan.max_length
        passes = forward_passes(model, data, rows.pad_id, plan.autocast, tokens, session.governor)
        return LabelledFeatures(features=features_of(model, passes, data.lengths), labels=data.labels)

    validation = labelled(rows.validation)
    fit = partial(
        fit_head,
        labelled(few),
        validation,
        classes=len(rows.labels),
        has_bias=head_of(model)[1].bias is not None,
        known=head_at_hand(model) if rows.knows_labels else None,
    )
    return run_within_limit(fit, session.governor), validation


def sample_rows(data: Encoded, count: int, seed: int) -> Encoded:
    """So many rows, drawn at random; all of them in their own order where there are no more."""
    return data if count >= len(data) else select_rows(data, np.random.default_rng(seed).permutation(len(data))[:count])


def model_with_head(session: Session) -> tuple[FitStart, Any]:
    """What the run began with, and the model with the fitted layer, as the plan prepares it."""
    folder, phases = session.folder, session.phases
    saved = _saved(session)
    start = FitStart.from_dict(saved)
    phases.enter("load")
    model = prepared(start.chosen, session, load_head(folder))
    phases.leave()
    for phase, peak in saved["memory_bytes"].items():
        phases.memory_bytes[phase] = max(peak, phases.memory_bytes.get(phase, 0))
    session.governor.step_downs[:0] = start.step_downs
    return start, model


def remove_head(session: Session) -> None:
    """Remove what a resume would begin with."""
    for name in (HEAD_RESULT, HEAD):
        (session.folder / name).unlink(missing_ok=True)
