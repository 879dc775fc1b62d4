"""The command line as a user types it, in a process of its own, and what a refusal of it looks like."""

import os
import subprocess
import sys

# Two threads, so that kernels are parallel as they are for users. They sleep where they wait for each other, for other work
# beside them would make them slow otherwise.
ENVIRONMENT = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
HANGS_AFTER_SECONDS = 400.0  # a command that hangs fails its test, and the suite goes on


def proxtune_in_a_process(*words: str, **options) -> subprocess.CompletedProcess[str]:
    """The command when it has ended. Raises TimeoutExpired where it hangs."""
    environment = os.environ | ENVIRONMENT
    command, given = _command(words), {"timeout": HANGS_AFTER_SECONDS} | options
    return subprocess.run(command, capture_output=True, text=True, env=environment, **given)


def proxtune_under_way(*words: str) -> subprocess.Popen[str]:
    """The command while it runs, for `said_by` to wait for."""
    environment, pipe = os.environ | ENVIRONMENT, subprocess.PIPE
    return subprocess.Popen(_command(words), stdout=pipe, stderr=pipe, text=True, env=environment)


def said_by(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it has written to stdout and stderr when it has ended. Raises TimeoutExpired where it hangs."""
    try:
        return process.communicate(timeout=HANGS_AFTER_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _command(words: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "proxtune", *words]


def assert_refused(code: int, err: str, *words: str) -> None:
    """Exit code 2 and one line for the user, the last, that has all of `words`."""
    lines = [line for line in err.splitlines() if line.startswith("proxtune: ")]
    assert code == 2, err
    assert len(lines) == 1, err
    assert err.endswith(lines[0] + "\n"), err
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0]
