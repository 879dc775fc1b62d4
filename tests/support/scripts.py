"""Scripts in a process of their own."""

import json
import os
import subprocess
import sys


def in_a_process_of_its_own(script: str) -> dict:
    """What `script` prints, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
