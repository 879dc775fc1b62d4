"""Rejection: steps whose numbers are not finite move nothing, cost learning rate, and after some the last snapshot is back."""

from __future__ import annotations

from proxtune.checkpoint.checkpointer import warning
from proxtune.checkpoint.state import Progress
from proxtune.errors import PersonError
from proxtune.training.context import Stepped, Steps, Training
from proxtune.training.memory_retry import Record

_REJECTED = 3  # steps in a row, after which the last snapshot is gone back to
_MOST_REJECTED = 10  # in a row, or
_MOST_RETURNS = 3  # goings back, and there is no sense in going on
_REGAIN = 1.02  # of the share of the learning rate, with each step that is good again


def rejection(at: Progress, done: Stepped, training: Training) -> Record:
    """What the person is told of a step that moved nothing."""
    assert done.rejected is not None
    rows = [training.where(row) for row in done.rejected]
    return {"kind": "rejected", "step": at.step, "seconds": round(training.clock.elapsed, 3), "rows": rows}


def backed_off(at: Progress, done: Stepped, steps: Steps, training: Training) -> tuple[Progress, list[Record], bool]:
    """After a step: where to go on, what to tell, and whether it is over.

    A rejected step halves the learning rate, a good one regains some; after three in a row it is back to the last snapshot.
    Raises PersonError when nothing helps and nothing was learned.
    """
    if done.rejected is None:
        at.rejected, at.rate_share = 0, min(1.0, at.rate_share * _REGAIN)
        return at, [], False
    at.rejected, at.rate_share = at.rejected + 1, at.rate_share / 2
    before = training.keeper.back(steps, at) if at.rejected == _REJECTED and at.returns < _MOST_RETURNS else None
    if before is not None:
        share = f"{before.rate_share:.3g} of the learning rate"
        words = f"{_REJECTED} steps in a row were not finite: back from step {at.step} to {before.step}, with {share}"
        return before, [warning(words)], False
    if at.rejected < _MOST_REJECTED:
        return at, [], False
    if at.best[0] < 0 or at.rejected == at.step:  # nothing was learned
        raise PersonError(
            f"{_MOST_REJECTED} steps in a row had losses or gradients that are not finite; give a smaller --learning-rate, or "
            "--dtype fp32"
        )
    return at, [warning(f"{_MOST_REJECTED} steps in a row were not finite: it ends with the best weights so far")], True
