"""The command line as a person types it, in a process of its own, and what a refusal of it looks like."""

import os
import subprocess
import sys


def proxtune_in_a_process(*words: str, **options) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "proxtune", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)


def assert_refused(code: int, err: str, *words: str) -> None:
    """Exit code 2 and one line for the person, the last, that has all of `words`."""
    lines = [line for line in err.splitlines() if line.startswith("proxtune: ")]
    assert code == 2, err
    assert len(lines) == 1, err
    assert err.endswith(lines[0] + "\n"), err
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0]
