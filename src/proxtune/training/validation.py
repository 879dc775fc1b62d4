"""Validation: the current weights on the validation rows, and the best of all on disk."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Iterator

import numpy as np

from proxtune.checkpoint.history import Validated
from proxtune.checkpoint.state import TrainingState
from proxtune.config.plan import Plan
from proxtune.errors import DiskFailed
from proxtune.memory.governor import is_refusal
from proxtune.runtime.inference import final_outputs
from proxtune.storage.events import Event, Notice, Validation
from proxtune.training.context import Training
from proxtune.training.memory_retry import error_line, run_within_limit

_LEAST_GAIN = 1e-9
_TRIES = 3  # to write the best point
_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.05, 1.0  # between them; and where nothing comes after


def is_validation_due(state: TrainingState, training: Training) -> bool:
    """Whether the point at hand is to be evaluated: at even distances, and at the end."""
    if state.validated_step == state.step:
        return False
    if state.size_phase_step == state.step:
        return True
    if state.step == 0:
        return state.plan.head_rows > 0 or training.validates_start
    interval = max(1, state.steps // max(1, training.evaluations - 1))
    return state.step >= state.steps or (state.step % interval == 0 and state.steps - state.step >= interval // 2)


def validate(state: TrainingState, training: Training) -> Iterator[Event]:
    """Evaluate the current weights, and keep them where they are the best. Nothing is evaluated again after a resume.

    The last point, where none was evaluated before it, is kept without an evaluation: there is nothing to compare it with, and
    the result is evaluated in any case. A point that memory refuses to evaluate is passed over.
    """
    if state.step >= state.steps and state.validated_step < 0:
        _save_best(state, training)
        return
    found = training.checkpointer.past_validation(state.step)
    if found is None:
        began = training.clock.elapsed
        known = training.first_metrics if state.step == 0 else None
        try:
            metrics = validation_scores(state.plan, training) if known is None else dict(known)
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error):
                raise
            yield from _pass_over(state, error_line(error), training)
            return
        is_best = _is_better(state, metrics, training)
        if known is None:
            state.validation_seconds = max(state.validation_seconds, training.clock.elapsed - began)
        if is_best:
            try:
                _save_best(state, training)
                state.best = training.validation.objective.rank(metrics)
            except OSError as error:
                is_best = False
                words = f"the best weights cannot be written ({error.strerror}); training continues; {_way_out(error)}"
                yield Notice(words=words)
        found = Validated(step=state.step, metrics=metrics, best=is_best)
        training.checkpointer.record_event(found)
    state.validated_step = state.step
    seconds = round(training.clock.elapsed, 3)
    yield Validation(step=state.step, seconds=seconds, metrics=found.metrics, best=found.best)
    training.phases.enter("train")


def _pass_over(state: TrainingState, why: str, training: Training) -> Iterator[Notice]:
    """Go on without an evaluation; the last point is kept where there is no other."""
    state.validated_step = state.step
    yield Notice(words=f"step {state.step} was not evaluated ({why}); training continues")
    if state.step >= state.steps and state.best[0] < 0:
        _save_best(state, training)
    training.phases.enter("train")


def _is_better(state: TrainingState, found: dict[str, float], training: Training) -> bool:
    rank = training.validation.objective.rank(found)
    return rank > (state.best[0] + _LEAST_GAIN, state.best[1]) or not math.isfinite(state.best[1])


def _save_best(state: TrainingState, training: Training) -> None:
    """Keep the best point, at a second or third try where need be.

    Raises OSError; DiskFailed where the last step led to it: it would be lost, and from a snapshot it comes again.
    """
    at_last = state.step >= state.steps
    for more in reversed(range(_TRIES)):
        try:
            _write_best(training)
            return
        except OSError as error:
            if not more and at_last:
                words = f"what was learned cannot be written ({error.strerror}); {_way_out(error)}, then run: proxtune resume"
                raise DiskFailed(words) from error
            if not more:
                raise
        time.sleep(_LAST_PAUSE_SECONDS if at_last else _PAUSE_SECONDS)


def _write_best(training: Training) -> None:
    """Write the best point, without the limit where that refuses it. Raises OSError, of memory too."""
    try:
        training.save_best()
        return
    except (RuntimeError, MemoryError) as error:
        if not is_refusal(error):
            raise
    training.governor.release()
    try:
        training.save_best()
    except (RuntimeError, MemoryError) as error:
        if not is_refusal(error):
            raise
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from error
    finally:
        training.governor.hold()


def _way_out(error: OSError) -> str:
    return "free some memory" if error.errno == errno.ENOMEM else "free some disk space"


def validate_at_stop(state: TrainingState, training: Training) -> Validation:
    """Evaluate where the user stops, and keep it apart if it is the best so far: a run that continues has not evaluated here."""
    found = validation_scores(state.plan, training)
    better = _is_better(state, found, training)
    if better:
        training.save_stopped()
    seconds = round(training.clock.elapsed, 3)
    return Validation(step=state.step, seconds=seconds, metrics=found, best=better, stopped=True)


def validation_scores(plan: Plan, training: Training) -> dict[str, float]:
    """Scores of the point at hand on the rows kept aside, at its nearest point where it is held to a size."""
    training.phases.enter("evaluate")
    tokens, governor = plan.micro_batch * plan.max_length, training.governor

    def outputs() -> np.ndarray:
        with training.constraint.at_nearest():
            return final_outputs(training.model, training.validation, training.pad_id, plan.autocast, tokens, governor)

    return training.validation.objective.score(run_within_limit(outputs, governor), training.validation)
