"""Each call on a file fails in turn, or is where the process ends: what is there then can be resumed.

The long way, over a whole run and with the system's own calls, is `make bench-faults`.
"""

import contextlib
import errno
import math
import os
import time

import pytest

from proxtune.config.plan import Plan
from proxtune.errors import DiskFailed
from support.trainings import digest, run_training

PLANS = {
    "full": Plan("full", "fp32", 8, 8, 32, False, "adamw", 1e-3, 3.0, 5, 0),
    "nno": Plan("nno", "fp32", 8, 48, 32, False, "none", 0.0, 1.0, 5, 0, neighbours=4, last_layers=1),
}
CALLS = ("write", "pwrite", "fsync", "replace", "open")


class Cut(BaseException):
    """The process ends here; nothing of it runs any more."""


@pytest.fixture
def faulty(monkeypatch):
    """`faulty(call, at, what)`: the call of that number is answered with `what`; returns the count of calls so far."""
    real = {call: getattr(os, call) for call in CALLS}

    def arm(call, at, what):
        count, is_cut = [0], [False]

        def wrapped(name):
            def one(*given, **named):
                if is_cut[0]:
                    raise Cut
                if name == call and not (name == "open" and not given[1] & (os.O_WRONLY | os.O_RDWR)):
                    count[0] += 1
                    if count[0] - 1 == at:
                        if what is None:
                            is_cut[0] = True
                            raise Cut
                        raise OSError(what, os.strerror(what))
                return real[name](*given, **named)

            return one

        for name in CALLS:
            monkeypatch.setattr(os, name, wrapped(name))
        return count

    yield arm
    for call in CALLS:
        monkeypatch.setattr(os, call, real[call])


def at_each_step(model, checkpointer):
    checkpointer.save_if_due = lambda steps, at: checkpointer.save(steps, at) if at.step % 2 else []


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", PLANS)
def test_a_call_that_fails_or_is_the_last_loses_nothing(tmp_path, tiny_model, rows, faulty, monkeypatch, name, call):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    # every commit flushes, however fast the disk is: so many calls in one run as in the next
    monkeypatch.setattr("proxtune.storage.journal._SHARE", math.inf)
    plan = PLANS[name]
    _, straight = run_training(tmp_path / "straight", tiny_model, rows, plan)
    wanted = digest(straight)
    count = faulty(call, -1, None)
    run_training(tmp_path / "counted", tiny_model, rows, plan, prepare=at_each_step)
    number = count[0]
    assert number > 2
    # all of them would take minutes; these are spread over the whole, another set for each fault
    for fault, first in ((errno.EIO, 0), (errno.ENOSPC, 1), (None, 2)):
        for at in range(first, number, max(1, number // 4)):
            folder = tmp_path / f"{fault}-{at}"
            count = faulty(call, at, fault)
            model = None
            with contextlib.suppress(DiskFailed, Cut, OSError):
                _, model = run_training(folder, tiny_model, rows, plan, prepare=at_each_step)
            assert count[0] > at
            faulty(call, -1, None)
            if model is None and not (folder / "journal.bin").exists():
                continue  # it had not begun
            if model is None:
                _, model = run_training(folder, tiny_model, rows, plan)
            assert digest(model) == wanted, (call, fault, at)
