"""Judgement: the point at hand on the rows kept aside, and the best of all points on disk."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np

from proxtune.checkpoint.checkpointer import warning
from proxtune.checkpoint.state import Progress
from proxtune.config.plan import Plan
from proxtune.errors import DiskFailed
from proxtune.runtime.inference import said_at_last
from proxtune.tasks.base import objective_of
from proxtune.training.context import Training
from proxtune.training.memory_retry import Record, governed

_LEAST_GAIN = 1e-9
_TRIES = 3  # to write the best point
_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.05, 1.0  # between them; and where nothing comes after


def is_due(at: Progress, training: Training, from_the_first: bool) -> bool:
    """Whether the point at hand is to be judged: at even distances, and at the end."""
    if at.judged == at.step:
        return False
    if at.held_from == at.step:
        return True
    if at.step == 0:
        return from_the_first
    interval = max(1, at.steps // max(1, training.evaluations - 1))
    return at.step >= at.steps or (at.step % interval == 0 and at.steps - at.step >= interval // 2)


def judged(at: Progress, training: Training) -> Iterator[Record]:
    """Judge the point at hand, and keep it where it is the best; what was judged before a resume is not judged again.

    The last point, where none was judged before it, is kept unjudged: there is nothing to compare it with, and the result
    is judged in any case.
    """
    if at.step >= at.steps and at.judged < 0:
        _keep(at, training)
        return
    found = training.keeper.judgement(at.step)
    if found is None:
        began = training.clock.elapsed
        score = score_of(at.plan, training)
        found = {**score, "best": _is_better(at, score, training)}
        at.judging_seconds = max(at.judging_seconds, training.clock.elapsed - began)
        if found["best"]:
            try:
                _keep(at, training)
                at.best = objective_of(training.held).rank(score)
            except OSError as error:
                found["best"] = False
                yield warning(f"the best weights cannot be written ({error.strerror}); training goes on, make room")
        training.keeper.note({"kind": "judged", "step": at.step, **found})
    at.judged = at.step
    told = {key: value for key, value in found.items() if key not in ("kind", "step")}
    yield {"kind": "validation", "step": at.step, "seconds": round(training.clock.elapsed, 3), **told}
    training.phases.enter("train")


def _is_better(at: Progress, found: dict[str, float], training: Training) -> bool:
    rank = objective_of(training.held).rank(found)
    return rank > (at.best[0] + _LEAST_GAIN, at.best[1]) or not math.isfinite(at.best[1])


def _keep(at: Progress, training: Training) -> None:
    """Keep the best point, at a second or third try where need be.

    Raises OSError; DiskFailed where the last step led to it: it would be lost, and from a snapshot it comes again.
    """
    at_last = at.step >= at.steps
    for more in reversed(range(_TRIES)):
        try:
            training.keep_best()
            return
        except OSError as error:
            if not more and at_last:
                words = f"what was learned cannot be written ({error.strerror}); make room, then: proxtune resume"
                raise DiskFailed(words) from error
            if not more:
                raise
        time.sleep(_LAST_PAUSE_SECONDS if at_last else _PAUSE_SECONDS)


def stopped(at: Progress, training: Training) -> Record:
    """Judge where the person stops, and keep it apart where it is the best so far: a run that goes on has not judged here."""
    found = score_of(at.plan, training)
    better = _is_better(at, found, training)
    if better:
        training.keep_stopped()
    return {
        "kind": "validation", "step": at.step, "seconds": round(training.clock.elapsed, 3), **found, "best": better,
        "stopped": True,
    }  # fmt: skip


def score_of(plan: Plan, training: Training) -> dict[str, float]:
    """Scores of the point at hand on the rows kept aside, at its nearest point where it is held to a size."""
    training.phases.enter("evaluate")
    tokens, governor = plan.micro_batch * plan.max_length, training.governor

    def said() -> np.ndarray:
        with training.constraint.at_nearest():
            return said_at_last(training.model, training.held, training.pad_id, plan.autocast, tokens, governor)

    return objective_of(training.held).score(governed(said, governor), training.held)
