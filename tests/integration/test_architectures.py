"""Models of many kinds, trained, saved and loaded by plain transformers, which must say the same: a sample of what
`make bench-architectures` does with all of them.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SAMPLE = {
    "bert": "wordpiece",
    "distilbert": "wordpiece",  # a head of two layers
    "fnet": "template",  # which takes no padding
    "deberta-v2": "unigram",  # which overflows in bf16
    "gpt2": "byte-level",  # layers the other way round
    "gemma2": "template",
    "cohere": "template",  # no classifier class
    "jamba": "template",  # layers of two kinds, with experts
    "lfm2": "unigram",
    "mamba": "byte-level",
    "qwen2_moe": "template",
    "t5": "unigram",
    "bart": "template",
}


def test_plain_transformers_classifies_alike_with_every_kind_of_model():
    wanted, job = list(SAMPLE), "classify"
    code = f"""
import sys, tempfile
from pathlib import Path
sys.path.insert(0, {str(BENCHMARKS)!r})
import architectures
architectures.import_everything()
roles = architectures.text_architectures()
places = [(name, roles[name], kind) for name, kind in {SAMPLE!r}.items() if name in {wanted!r}]
with tempfile.TemporaryDirectory() as folder:
    run, ask = architectures.forked, architectures.asked_in_a_fork
    for outcome in architectures.outcomes(places, [{job!r}], Path(folder), run, ask, "lora"):
        print(outcome.name, outcome.fate, outcome.words, flush=True)
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert {name: words.split()[0] for name, words in told.items()} == dict.fromkeys(wanted, "agrees"), (
        told,
        done.stderr[-2000:],
    )


def test_threads_of_the_sweeps_forks_share_a_pool_that_is_there_before_them():
    """Without that one fork in sixteen met "Invalid thread pool!" here."""
    code = f"""
import sys, threading
sys.path.insert(0, {str(BENCHMARKS)!r})
import architectures
architectures.import_everything()
import torch
from proxtune.memory.fork import in_forked_child
numbers = torch.zeros(40_000)  # enough for a kernel to ask for its threads

def compute():
    begin, errors = threading.Barrier(8), []
    def work():
        begin.wait()
        try:
            numbers.add(1)
        except RuntimeError as error:
            errors.append(str(error))
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors

print([error for _ in range(150) for error in in_forked_child(compute)])
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "[]", (done.stdout[-500:], done.stderr[-2000:])
