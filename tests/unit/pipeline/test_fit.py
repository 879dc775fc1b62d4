"""The main path: how far a training came is what counts, and a run that must end says why."""

import os
import signal
from types import SimpleNamespace

import pytest

from proxtune.errors import Interrupted, UserError
from proxtune.pipeline import fit as module
from proxtune.pipeline.fit import explain_out_of_memory
from proxtune.pipeline.result import Timing
from proxtune.storage.events import Continued, Phase, StepEvent
from proxtune.tasks.base import TaskTraits


def step(number, examples_seen=24):
    return StepEvent(
        step=number, steps=6, seconds=1.0, loss=0.5, learning_rate=1e-3, memory_bytes=1, examples_seen=examples_seen
    )  # fmt: skip


@pytest.fixture
def training(monkeypatch, tmp_path):
    """`_train` of events that a test gives; `shown` is what came out, `safe` whether the journal is on disk."""
    own = SimpleNamespace(events=[], shown=[], safe=True, left=30.0, kept=True)

    def train(plan, training):
        yield from own.events
        raise Interrupted("stopped")

    checkpointer = SimpleNamespace(can_resume=False, commit=lambda: own.safe, close=lambda: None)
    for name, fake in {
        "train": train, "open_checkpointer": lambda *given: checkpointer, "Training": lambda **given: None,
        "has_weights": lambda *given: own.kept, "_StopSignal": lambda: SimpleNamespace(is_requested=None),
    }.items():  # fmt: skip
        monkeypatch.setattr(module, name, fake)
    data = SimpleNamespace(train=None, validation=None, pad_id=0, split=SimpleNamespace(train=None))
    session = SimpleNamespace(
        emit_phase=lambda phase: None, data=data, folder=tmp_path, recipe=SimpleNamespace(seed=0), emit=own.shown.append,
        phases=SimpleNamespace(enter=lambda phase: None), governor=SimpleNamespace(release=lambda: None, step_downs=[]),
        clock=SimpleNamespace(), structure=None, traits=TaskTraits(),
    )  # fmt: skip
    plan = SimpleNamespace(validation_rows=0, steps=6, batch=8, cost=SimpleNamespace(flops=100.0))
    start = SimpleNamespace(chosen=plan, timing=Timing(ending_seconds=0.0, evaluations=1, max_steps=6))

    def run():
        session.clock.left = own.left
        return module._train(session, start, None, None, False)

    own.run = run
    return own


@pytest.mark.parametrize(("left", "status"), [(30.0, "interrupted"), (-30.0, "done")])
def test_a_training_that_is_stopped_after_its_time_is_done(training, left, status):
    training.events, training.left = [step(3)], left
    progress = training.run()
    assert (progress.status, progress.steps, progress.examples_seen, progress.flops) == (status, 3, 24, 50.0)


def test_where_it_continued_counts_where_no_step_was_made(training):
    training.events = [Continued(step=4, snapshot=4, examples_seen=32)]
    progress = training.run()
    assert (progress.steps, progress.examples_seen) == (4, 32)


def test_nothing_is_shown_before_it_is_on_disk_and_all_of_it_is_in_the_end(training):
    seen = []

    def events():
        for number in (1, 2, 3):
            training.safe = number == 2
            seen.append(len(training.shown))
            yield step(number)

    training.events = events()
    training.run()
    assert seen == [0, 0, 2]
    assert training.shown == [step(1), step(2), step(3)]


def test_what_learned_nothing_has_no_result(training):
    training.kept = False
    with pytest.raises(Interrupted, match="before the first training step"):
        training.run()


def test_events_that_are_no_steps_are_shown_too():
    shown, events = [], [step(2), Phase(phase="train", seconds=1.0)]
    assert module._show(SimpleNamespace(emit=shown.append), events, None) == step(2)
    assert len(shown) == 2
    assert events == []
    assert module._show(SimpleNamespace(emit=shown.append), [], step(1)) == step(1)


@pytest.mark.parametrize("error", [MemoryError("one row does not fit"), RuntimeError("could not create a primitive")])
def test_where_no_smaller_step_is_left_the_user_is_told_what_would_do(error):
    with pytest.raises(UserError, match="give more --memory or a smaller --max-length"), explain_out_of_memory():
        raise error


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), explain_out_of_memory():
        raise RuntimeError("shapes do not agree")


def test_the_first_signal_asks_and_the_second_ends_at_once():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stop = module._StopSignal()
        assert not stop.is_requested()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_requested()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
