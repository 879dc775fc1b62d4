"""The guard: a library's error about a model is one sentence that names the file of its traceback."""

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest

from proxtune.errors import DiskFailed, Interrupted, UserError
from proxtune.runtime.guard import explain_model_errors, reason_of


def broken():
    raise KeyError("no such weight\nand more words")


def explained(work) -> str:
    with pytest.raises(UserError) as caught, explain_model_errors("owner/name"):
        work()
    return str(caught.value)


def test_a_librarys_error_is_one_sentence_and_its_traceback_a_file():
    words = explained(broken)
    assert "cannot train model 'owner/name': KeyError:" in words
    assert "\n" not in words
    log = Path(re.search(r"the traceback is in (\S+)$", words)[1])
    told = log.read_text()
    log.unlink()
    assert "Traceback (most recent call last)" in told
    assert "in broken" in told


def test_what_a_child_process_raised_is_told_by_its_own_last_line():
    code = """
from proxtune.memory.fork import in_forked_child
from proxtune.runtime.guard import explain_model_errors

def broken():
    raise KeyError("no such weight")

with explain_model_errors("owner/name"):
    in_forked_child(broken)
"""  # in a process of its own: one that has computed, as that of other tests, must not fork
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    words = done.stderr.strip().splitlines()[-1]
    assert "cannot train model 'owner/name': KeyError: 'no such weight'; see" in words
    log = Path(words.rsplit(" ", 1)[1])
    assert "in broken" in log.read_text()
    log.unlink()


@pytest.mark.parametrize(
    "error",
    [
        UserError("give another file"), DiskFailed("the disk is full"), Interrupted("stopped"), MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"),
        KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_has_its_own_answer_passes(error):
    with pytest.raises(type(error)) as caught, explain_model_errors("owner/name"):
        raise error
    assert caught.value is error


def test_a_reason_is_short_and_has_no_second_full_stop():
    assert reason_of(ValueError("heads do not divide 30.")) == "ValueError: heads do not divide 30"
    assert reason_of(AssertionError()) == "AssertionError"
    assert len(reason_of(ValueError("x" * 1000))) == 200
