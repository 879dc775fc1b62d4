"""No process that has run a parallel kernel is forked: its child would wait for OpenMP's threads for ever.

Each in a process of its own with two threads, which ends after a while where it hangs.
"""

import errno
import json
import os
import subprocess
import sys

import pytest

from support.commands import ENVIRONMENT, HANGS_AFTER_SECONDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")

BEGIN = """
import json, sys, threading
from proxtune.memory.lean_imports import import_lean
import_lean()
import numpy as np
import torch
from proxtune.memory.fork import _end_openmp_threads, in_forked_child
def compute(): return float((torch.ones(1000, 1000) + 1).sum())
def forked():
    try: return in_forked_child(compute)
    except RuntimeError as error: return str(error)
"""


def found_by(script: str, *words: str, **environment: str) -> list:
    """What the last line that `script` prints says, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script, *words],
        capture_output=True,
        text=True,
        env=os.environ | ENVIRONMENT | environment,
        timeout=HANGS_AFTER_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_process_is_forked_before_it_computes_and_refused_afterwards():
    before, again, refused = found_by("print(json.dumps([forked(), forked(), [compute(), forked()][1]]))")
    assert before == again == 2_000_000
    assert refused.startswith("cannot fork: this process has already run parallel code (1 OpenMP threads)")


def test_threads_that_are_not_of_openmp_do_not_hinder():
    """Those of numpy's own library, of tokenizers, and of Python."""
    script = """
from tokenizers import Tokenizer, models, pre_tokenizers
words = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
words.encode_batch(["a a a"] * 2000)
np.ones((500, 500)) @ np.ones((500, 500))
wait = threading.Event()
threading.Thread(target=wait.wait, daemon=True).start()
from proxtune.memory.fork import _living_threads
print(json.dumps([len(_living_threads()), forked()]))
"""
    threads, answer = found_by(script, TOKENIZERS_PARALLELISM="true")
    assert threads >= 3
    assert answer == 2_000_000


def test_with_one_thread_there_is_nothing_to_wait_for():
    assert found_by("print(json.dumps([compute(), forked()]))", OMP_NUM_THREADS="1") == [2_000_000, 2_000_000]


def test_the_models_of_the_whole_runs_are_wide_enough_for_parallel_kernels(
    wide_model, wide_decoder, wide_chat, wide_t5
):
    """Else those runs would not see what becomes of a process that has computed; a profile traces three rows."""
    script = """
from transformers import AutoModel
def threads(folder, length):
    model = AutoModel.from_pretrained(folder)
    ids = torch.ones(3, length, dtype=torch.long)
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    _end_openmp_threads()
    with torch.no_grad(): model(input_ids=ids, **more)
    return _end_openmp_threads()
print(json.dumps([[threads(folder, 64) for folder in sys.argv[1:3]], [threads(folder, 32) for folder in sys.argv[3:]]]))
"""
    assert found_by(script, *map(str, (wide_model, wide_decoder, wide_chat, wide_t5))) == [[1, 1], [1, 1]]


def test_what_the_user_is_told_reaches_the_parent_as_it_was_raised():
    script = f"""
import os
from proxtune.errors import DiskFailed, UserError
def told(error):
    def fail(): raise error
    try: in_forked_child(fail)
    except Exception as error: return [type(error).__name__, str(error)]
full, other = OSError({errno.ENOSPC}, "No space left on device", "/run"), OSError({errno.ENOENT}, "No such file", "/run")
print(json.dumps([told(error) for error in (UserError("raise it"), DiskFailed("it failed"), full, other)]))
"""
    user, disk, full, other = found_by(script)
    assert user == ["UserError", "raise it"]
    assert disk == ["DiskFailed", "it failed"]
    assert full == ["DiskFailed", "No space left on device (/run): free some disk space, then: proxtune resume"]
    assert other[0] == "RuntimeError"
    assert "FileNotFoundError: [Errno 2] No such file: '/run'" in other[1]
