"""What a run begins with whose classification layer is fitted before the first step, kept so that a resume begins there too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
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
from proxtune.planning.cost_model import LEAST_HEAD_ROWS
from proxtune.runtime.inference import evaluated, forward_passes, warm_up_forward
from proxtune.runtime.model_setup import prepared
from proxtune.runtime.session import Session
from proxtune.storage.atomic import write_json
from proxtune.storage.events import Notice
from proxtune.storage.result import HEAD, HEAD_RESULT, has_fitted_head
from proxtune.training.memory_retry import run_within_limit

_ROWS_AT_A_TIME = 512  # between looks at the clock; within them rows pass from short to long, with little padding
_SLOWER = 1.25  # times what the plan foresaw may be spent on the features: the steps that follow need their time


def has_head(session: Session) -> bool:
    """Whether the layer is fitted already."""
    return has_fitted_head(session.folder)


def fit_first_head(session: Session, start: FitStart, model: Any) -> FitStart:
    """Fit the layer to as many rows as the plan says, put it into the model, and keep it with what the run begins with.

    Fewer rows where the machine is slower than the plan foresaw. Returns what the run begins with, which knows from here on how
    long an evaluation of the validation rows takes.
    """
    plan, phases, folder = start.chosen, session.phases, session.folder
    phases.enter("train")
    warm_up_forward(model, session.data.train, session.data.pad_id, plan.autocast, session.governor)
    session.governor.hold()
    began = session.clock.elapsed
    validation = _validation_features(session, plan, model)
    timing = replace(start.timing, validation_seconds=session.clock.elapsed - began)
    deadline_seconds = None
    if session.clock.limit_seconds is not None:
        latest_seconds = session.clock.limit_seconds - timing.ending_seconds
        deadline_seconds = min(began + _SLOWER * timing.head_seconds, latest_seconds)
    train = _features_within(deadline_seconds, session, plan, model)
    head = _fitted(session, model, train, validation)
    session.governor.release()
    install_head(model, head)
    rows = evaluated(session.data.validation, plan)
    metrics = rows.objective.score(validation.features @ head.weight.T + head.bias, rows)
    phases.leave()
    save_head(folder, head)
    start = replace(start, timing=timing)
    write_json(folder / HEAD_RESULT, start.as_dict() | {"memory_bytes": phases.memory_bytes, "metrics": metrics})
    return start


def head_metrics(session: Session) -> Mapping[str, float] | None:
    """What the fitted layer scores on the validation rows; None where none was fitted."""
    if not has_head(session):
        return None
    found: dict[str, float] | None = _saved(session).get("metrics")
    return found


def _saved(session: Session) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((session.folder / HEAD_RESULT).read_text(encoding="utf-8"))
    return found


def _validation_features(session: Session, plan: Plan, model: Any) -> LabelledFeatures:
    rows = evaluated(session.data.validation, plan)
    passes = _passes(session, plan, model, rows)
    return LabelledFeatures(features=features_of(model, passes, rows.lengths), labels=rows.labels)


def _features_within(deadline_seconds: float | None, session: Session, plan: Plan, model: Any) -> LabelledFeatures:
    """What the layer sees of as many rows as the plan says, or as pass through the model before the deadline, drawn at random.

    `deadline_seconds` are on the run's clock. Some hundred rows pass in any case.
    """
    data = session.data.train
    few, at_a_time, done = sample_rows(data, plan.head_rows, session.recipe.seed), _ROWS_AT_A_TIME, 0
    if deadline_seconds is None:
        # all of them will pass: in their own order, so that the fit does not depend on the draw
        few, at_a_time = data if len(few) == len(data) else few, len(few)

    def is_over() -> bool:
        return deadline_seconds is not None and done >= LEAST_HEAD_ROWS and session.clock.elapsed >= deadline_seconds

    def passes() -> Iterator[tuple[np.ndarray, Any]]:
        nonlocal done
        while done < len(few) and not is_over():
            numbers = np.arange(done, min(done + at_a_time, len(few)))
            for places, found in _passes(session, plan, model, select_rows(few, numbers)):
                yield numbers[places], found
            done += len(numbers)

    features = features_of(model, passes(), few.lengths)
    if done < len(data):
        why = "" if done == len(few) else f": there was no time for the {len(few):,} planned"
        words = f"the classification layer is fitted to {done:,} of {len(data):,} rows, drawn at random{why}"
        session.emit(Notice(words=words))
    return LabelledFeatures(features=features[:done], labels=few.labels[:done])


def _passes(session: Session, plan: Plan, model: Any, data: Encoded) -> Iterator[tuple[np.ndarray, Any]]:
    tokens = plan.micro_batch * plan.max_length
    return forward_passes(model, data, session.data.pad_id, plan.autocast, tokens, session.governor)


def _fitted(session: Session, model: Any, train: LabelledFeatures, validation: LabelledFeatures) -> LinearHead:
    fit = partial(
        fit_head,
        train,
        validation,
        classes=len(session.data.labels),
        has_bias=head_of(model)[1].bias is not None,
        known=head_at_hand(model) if session.data.knows_labels else None,
    )
    return run_within_limit(fit, session.governor)


def sample_rows(data: Encoded, count: int, seed: int) -> Encoded:
    """So many rows, drawn at random; all of them, in random order, where there are no more."""
    return select_rows(data, np.random.default_rng(seed).permutation(len(data))[:count])


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
