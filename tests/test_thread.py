"""The thread that computes: replaced after a refusal, since the one that met it compiles nothing more."""

import threading

import numpy as np
import pytest

from proxtune.memory.govern import Governor, in_halves
from proxtune.memory.meter import ProcessMeter
from proxtune.memory.thread import ComputingThread
from proxtune.steps import governed


class Poison:
    """Fails once for want of memory, and from then on in every thread that it has failed in."""

    def __init__(self, times: int = 1) -> None:
        self.left, self.poisoned, self.calls = times, set(), 0

    def compute(self, rows=None):
        self.calls += 1
        here = threading.get_ident()
        if self.left:
            self.left -= 1
            self.poisoned.add(here)
        if here in self.poisoned:
            raise RuntimeError("could not create a primitive")
        return here if rows is None else rows.sum()


class Renewing(Governor):
    """A limit that can always be set anew."""

    def renew(self) -> bool:
        return True


def test_it_is_the_callers_own_until_it_is_replaced():
    thread = ComputingThread()
    assert thread.run(threading.get_ident) == threading.get_ident()
    thread.replace()
    first = thread.run(threading.get_ident)
    assert first != threading.get_ident()
    assert thread.run(threading.get_ident) == first, "one and the same"


def test_what_a_computation_raises_is_raised():
    thread = ComputingThread()
    thread.replace()
    with pytest.raises(ZeroDivisionError):
        thread.run(lambda: 1 / 0)


def test_a_step_that_was_refused_is_done_again_in_a_new_thread():
    poison, undone = Poison(times=2), []
    found = governed(poison.compute, Renewing(None, ProcessMeter()), lambda: undone.append(1))
    assert found not in poison.poisoned
    assert (poison.calls, len(undone)) == (3, 2)


def test_halves_of_what_was_refused_are_computed_in_a_new_thread():
    poison = Poison()
    pieces = [np.arange(4), np.arange(4, 8)]
    found = list(in_halves(pieces, poison.compute, Governor(None, ProcessMeter()), "too much"))
    assert [rows.tolist() for rows, _ in found] == [[0, 1], [2, 3], [4, 5, 6, 7]]
    assert [int(total) for _, total in found] == [1, 5, 22]
