"""Work in a forked child: its result or its error comes back, and nothing else."""

from support.scripts import in_a_process_of_its_own


def test_a_forked_child_returns_or_raises_and_leaves_nothing_behind():
    found = in_a_process_of_its_own(
        """
import json, os
from proxtune.memory.fork import ChildKilled, in_forked_child
parent, memory = os.getpid(), []
answer = in_forked_child(lambda: {"own process": os.getpid() != parent, "appended": memory.append(1)})
def fail(): raise MemoryError("too much")
try: in_forked_child(fail)
except RuntimeError as error: words = str(error)
try: in_forked_child(lambda: os._exit(9))
except RuntimeError as error: silent = str(error)
try: in_forked_child(lambda: os.kill(os.getpid(), 11))
except ChildKilled as error: killed = str(error)
open_files = len(os.listdir("/proc/self/fd"))
for _ in range(5): in_forked_child(lambda: 1)
print(json.dumps([answer, memory, words, silent, killed, len(os.listdir("/proc/self/fd")) - open_files]))
"""
    )
    answer, memory, words, silent, killed, leaked = found
    assert killed == "killed by SIGSEGV"
    assert answer == {"own process": True, "appended": None}
    assert memory == []
    assert "MemoryError: too much" in words
    assert "without a word" in silent
    assert leaked == 0
