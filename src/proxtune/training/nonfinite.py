"""Rejection: steps whose numbers are not finite move nothing, cost learning rate, and after some the last snapshot is back."""

from __future__ import annotations

from proxtune.checkpoint.state import TrainingState
from proxtune.errors import UserError
from proxtune.storage.events import Event, Notice, StepRejected
from proxtune.training.context import StepMaker, StepResult, Training

_REJECTED = 3  # steps in a row, after which the last snapshot is gone back to
_MOST_REJECTED = 10  # in a row, or
_MOST_RETURNS = 3  # goings back, and there is no sense in going on
_REGAIN = 1.02  # of the share of the learning rate, with each step that is good again


def rejected_event(state: TrainingState, done: StepResult, training: Training) -> StepRejected:
    """What the user is told of a step that moved nothing."""
    assert done.rejected is not None
    rows = tuple(training.where(row) for row in done.rejected)
    return StepRejected(step=state.step, seconds=round(training.clock.elapsed, 3), rows=rows)


def back_off(
    state: TrainingState, done: StepResult, step_maker: StepMaker, training: Training
) -> tuple[TrainingState, list[Event], bool]:
    """After a step: where to continue, what to tell, and whether it is over.

    A rejected step halves the learning rate, a good one regains some; after three in a row it is back to the last snapshot.
    Raises UserError when nothing helps and nothing was learned.
    """
    if done.rejected is None:
        state.rejected, state.rate_share = 0, min(1.0, state.rate_share * _REGAIN)
        return state, [], False
    state.rejected, state.rate_share = state.rejected + 1, state.rate_share / 2
    may_return = state.rejected == _REJECTED and state.rollbacks < _MOST_RETURNS
    before = training.checkpointer.roll_back(step_maker, state) if may_return else None
    if before is not None:
        share = f"{before.rate_share:.3g} of the learning rate"
        words = (
            f"{_REJECTED} steps in a row were not finite: back from step {state.step} to {before.step}, with {share}"
        )
        return before, [Notice(words=words)], False
    if state.rejected < _MOST_REJECTED:
        return state, [], False
    if state.best[0] < 0 or state.rejected == state.step:  # nothing was learned
        raise UserError(
            f"{_MOST_REJECTED} steps in a row had losses or gradients that are not finite; give a smaller --learning-rate, or "
            "--dtype fp32"
        )
    return (
        state,
        [Notice(words=f"{_MOST_REJECTED} steps in a row were not finite: it ends with the best weights so far")],
        True,
    )
