"""Validation: when it is due, what is kept as the best point, and what happens where that cannot be written."""

import errno
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from proxtune.checkpoint.history import Validated
from proxtune.checkpoint.state import TrainingState
from proxtune.errors import DiskFailed
from proxtune.runtime.clock import Clock
from proxtune.storage.events import Notice, Validation
from proxtune.tasks.classification.objective import LABELS
from proxtune.training import validation
from proxtune.training.validation import is_validation_due, validate, validate_at_stop
from support.trainings import PLAN, NoCheckpoints


class Remembering(NoCheckpoints):
    """Keeps the validations that are told to it, and knows some from before."""

    def __init__(self, *known: Validated) -> None:
        super().__init__()
        self.known, self.told = {each.step: each for each in known}, []

    def past_validation(self, step):
        return self.known.get(step)

    def record_event(self, event):
        self.told.append(event)


@pytest.fixture
def training(monkeypatch):
    """A training whose next scores are (accuracy, loss) in `scores`; `saved` says which point was written when."""
    scores, saved = [], []

    def found(plan, training):
        accuracy, loss = scores.pop(0)
        return {"accuracy": accuracy, "loss": loss}

    monkeypatch.setattr(validation, "validation_scores", found)
    monkeypatch.setattr(validation, "time", SimpleNamespace(sleep=lambda seconds: None))
    return SimpleNamespace(
        scores=scores, saved=saved, checkpointer=Remembering(), clock=Clock(time.monotonic()), evaluations=3,
        validation=SimpleNamespace(objective=LABELS), phases=SimpleNamespace(enter=lambda phase: None),
        governor=SimpleNamespace(release=lambda: saved.append("no limit"), hold=lambda: saved.append("limit")),
        validates_start=False, save_best=lambda: saved.append("best"), save_stopped=lambda: saved.append("stopped"),
    )  # fmt: skip


def at(step, steps=9, **more):
    return TrainingState(PLAN, steps, step=step, **more)


@pytest.mark.parametrize(
    ("state", "is_due"),
    [
        (at(0), False), (at(3), False), (at(4), True), (at(4, validated_step=4), False), (at(8), False), (at(9), True),
        (at(5, size_phase_step=5), True), (at(6, size_phase_step=5), False),
    ],
)  # fmt: skip
def test_it_is_due_at_even_distances_at_the_end_and_where_the_size_phase_begins(training, state, is_due):
    assert is_validation_due(state, training) is is_due


def test_what_knows_something_already_is_validated_before_its_first_step(training):
    fitted = TrainingState(replace(PLAN, head_rows=24), 9)
    assert is_validation_due(fitted, training)
    training.validates_start = True
    assert is_validation_due(at(0), training)


def test_the_best_point_is_saved_and_a_worse_one_is_not(training):
    state = at(4)
    training.scores[:] = [(0.75, 0.5), (0.75, 0.4), (0.5, 0.1), (0.8, 0.9)]
    told = [event for _ in range(4) for event in validate(state, training)]
    assert all(isinstance(event, Validation) for event in told)
    assert [event.best for event in told] == [True, False, False, True], "only another accuracy makes a point better"
    assert training.saved == ["best", "best"]
    assert state.best == (0.8, -0.9)
    assert state.validated_step == 4
    assert [event.metrics for event in told] == [event.metrics for event in training.checkpointer.told]


def test_what_was_validated_before_a_resume_is_not_validated_again(training):
    training.checkpointer = Remembering(Validated(step=4, metrics={"accuracy": 0.25, "loss": 2.0}, best=True))
    (told,) = validate(at(4), training)
    assert told.metrics == {"accuracy": 0.25, "loss": 2.0}
    assert told.best
    assert training.saved == training.checkpointer.told == []


def test_the_last_point_is_saved_without_validation_where_there_is_no_other(training):
    assert list(validate(at(9), training)) == []
    assert training.saved == ["best"]


def refuse(training, times, error=None):
    left = [times]

    def save_best():
        if left[0]:
            left[0] -= 1
            raise error or OSError(errno.ENOSPC, "No space left on device")
        training.saved.append("best")

    training.save_best = save_best


def test_where_the_best_point_cannot_be_written_training_continues_and_it_is_not_called_best(training):
    refuse(training, 3)
    state = at(4)
    training.scores[:] = [(0.75, 0.5)]
    notice, told = validate(state, training)
    assert isinstance(notice, Notice)
    assert "No space left on device" in notice.words
    assert not told.best
    assert state.best == at(4).best


def test_it_is_tried_three_times(training):
    refuse(training, 2)
    training.scores[:] = [(0.75, 0.5)]
    (told,) = validate(at(4), training)
    assert told.best
    assert training.saved == ["best"]


def test_at_the_last_step_what_cannot_be_written_ends_the_run_and_says_how_to_resume(training):
    refuse(training, 3)
    with pytest.raises(DiskFailed, match=r"No space left on device.*proxtune resume"):
        list(validate(at(9), training))


REFUSAL = RuntimeError("can't allocate memory")


def test_where_memory_refuses_to_write_the_best_point_it_is_written_without_the_limit(training):
    refuse(training, 1, REFUSAL)
    training.scores[:] = [(0.75, 0.5)]
    (told,) = validate(at(4), training)
    assert told.best
    assert training.saved == ["no limit", "best", "limit"]


def test_where_memory_refuses_that_too_training_goes_on_and_at_the_last_step_it_ends_the_run(training):
    training.scores[:] = [(0.75, 0.5)] * 2
    refuse(training, 6, REFUSAL)
    notice, told = validate(at(4), training)
    assert notice.words.endswith("(Cannot allocate memory); training continues; free some memory")
    assert not told.best
    refuse(training, 6, REFUSAL)
    with pytest.raises(DiskFailed, match=r"Cannot allocate memory.*free some memory, then run: proxtune resume"):
        list(validate(at(9), training))


def refuse_to_evaluate(monkeypatch, error=REFUSAL):
    def refused(plan, training):
        raise error

    monkeypatch.setattr(validation, "validation_scores", refused)


def test_a_point_that_memory_refuses_to_evaluate_is_passed_over(training, monkeypatch):
    refuse_to_evaluate(monkeypatch)
    state = at(4)
    (notice,) = validate(state, training)
    assert notice.words == "step 4 was not evaluated (can't allocate memory); training continues"
    assert state.validated_step == 4
    assert training.saved == training.checkpointer.told == []


@pytest.mark.parametrize(("best", "saved"), [((-1.0, -9.0), ["best"]), ((0.75, -0.5), [])])
def test_the_last_point_that_cannot_be_evaluated_is_kept_where_there_is_no_other(training, monkeypatch, best, saved):
    refuse_to_evaluate(monkeypatch)
    list(validate(at(9, validated_step=4, best=best), training))
    assert training.saved == saved


def test_an_error_of_an_evaluation_that_is_no_refusal_is_raised(training, monkeypatch):
    refuse_to_evaluate(monkeypatch, RuntimeError("shapes do not agree"))
    with pytest.raises(RuntimeError, match="shapes"):
        list(validate(at(4), training))


@pytest.mark.parametrize(("accuracy", "saved"), [(0.8, ["stopped"]), (0.7, [])])
def test_where_the_user_stops_a_better_point_is_kept_apart(training, accuracy, saved):
    training.scores[:] = [(accuracy, 0.5)]
    state = at(5, best=(0.75, -0.5))
    told = validate_at_stop(state, training)
    assert (told.stopped, told.best) == (True, bool(saved))
    assert training.saved == saved
    assert state == replace(at(5), best=(0.75, -0.5)), "a run that continues has not evaluated here"
