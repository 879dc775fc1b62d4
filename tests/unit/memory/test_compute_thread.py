"""The thread that computes: replaced after a refusal, since the one that met it compiles nothing more."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from proxtune.memory.compute_thread import ComputeThread
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor, in_halves
from proxtune.training.memory_retry import run_within_limit


class Poison:
    """Fails once for lack of memory, and from then on in every thread that it has failed in."""

    def __init__(self, times: int = 1) -> None:
        self.left, self.poisoned, self.calls = times, set(), 0

    def compute(self, rows=None):
        self.calls += 1
        here = threading.get_native_id()
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
    thread = ComputeThread()
    assert thread.run(threading.get_native_id) == threading.get_native_id()
    thread.replace()
    first = thread.run(threading.get_native_id)
    assert first != threading.get_native_id()
    assert thread.run(threading.get_native_id) == first, "one and the same"


def test_what_a_computation_raises_is_raised():
    thread = ComputeThread()
    thread.replace()
    with pytest.raises(ZeroDivisionError):
        thread.run(lambda: 1 / 0)


def test_a_step_that_was_refused_is_done_again_in_a_new_thread():
    poison, undone = Poison(times=2), []
    found = run_within_limit(poison.compute, Renewing(None, ProcessMeter()), lambda: undone.append(1))
    assert found not in poison.poisoned
    assert (poison.calls, len(undone)) == (3, 2)


def test_halves_of_what_was_refused_are_computed_in_a_new_thread():
    poison = Poison()
    pieces = [np.arange(4), np.arange(4, 8)]
    found = list(in_halves(pieces, poison.compute, Governor(None, ProcessMeter()), "too much"))
    assert [rows.tolist() for rows, _ in found] == [[0, 1], [2, 3], [4, 5, 6, 7]]
    assert [int(total) for _, total in found] == [1, 5, 22]


UNDER_A_LIMIT = """
import resource, sys, threading
from proxtune.memory.compute_thread import ComputeThread

def reserved():
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1])

thread = ComputeThread()
if sys.argv[1] == "reserved":
    thread.reserve()
resource.setrlimit(resource.RLIMIT_DATA, (reserved() + 2_000_000,) * 2)  # less than a stack
here, found = threading.get_native_id(), []
for _ in range(20):
    thread.replace()
    found.append(thread.run(threading.get_native_id))
print(sum(other != here for other in found), len(set(found)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts what is mapped on Linux alone")
@pytest.mark.parametrize(("way", "elsewhere"), [("reserved", "20 20"), ("unprepared", "0 1")])
def test_where_no_stack_can_be_had_one_that_was_reserved_is_used_or_else_the_callers_thread(way, elsewhere):
    said = subprocess.run([sys.executable, "-c", UNDER_A_LIMIT, way], capture_output=True, text=True)
    assert said.stdout.strip() == elsewhere, said.stderr
