"""Runs that are cut off: each in a process forked from this one, so that imports are paid once and a run takes seconds.

What is forked does all that `proxtune train` and `proxtune resume` do, its stages one after another in the one process, so that
a SIGKILL ends them all at once, as a power cut does. `--method` and the knobs are fixed, and no time is set: a run that begins
planning anew comes to the same plan.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiny import tiny_files

if TYPE_CHECKING:  # each of these imports more
    from proxtune.pipeline.jobs import Job
    from proxtune.storage.events import Listener

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads do not survive a fork
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

KINDS: dict[str, dict[str, Any]] = {
    "full": {"method": "full", "dtype": "fp32", "micro_batch": 8, "batch": 8, "epochs": 1.5},
    "lora": {"method": "lora", "dtype": "fp32", "micro_batch": 8, "batch": 8, "epochs": 1.0, "rank": 4},
    "nno": {"method": "nno", "dtype": "fp32", "micro_batch": 128, "batch": 8, "epochs": 0.6},
}


@dataclass(frozen=True)
class Ended:
    """How a forked process ended: its exit status (negative for a signal), what it said last, how long it took."""

    status: int
    words: str
    seconds: float


def get_ready(snapshot_share: float) -> None:
    """Import what any stage needs, and let stages run where they are called. `snapshot_share` of the time is for snapshots."""
    import torch
    import transformers

    import proxtune.pipeline.supervisor
    from proxtune.checkpoint import checkpointer
    from proxtune.memory import lean_imports
    from proxtune.pipeline import stages
    from proxtune.pipeline.process import StageOutcome
    from proxtune.report.sections import learning, memory
    from proxtune.runtime import model_setup, session

    lean_imports.import_peft()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for module in (session, lean_imports):
        module.import_lean = lambda: None
    for name in ("set_allocator", "unload_cold_code"):  # they change the whole process for good
        setattr(session, name, lambda *given: None)
    model_setup.set_allocator = lambda *given: None
    checkpointer._SHARE = snapshot_share

    def run_stage(job: Job, listen: Listener | None = None, **watched: Any) -> StageOutcome:
        return StageOutcome(result=stages.do(job, listen or (lambda event: None), others_bytes=0))

    proxtune.pipeline.supervisor.run_stage = run_stage
    with tempfile.TemporaryDirectory(prefix="proxtune-ready-") as name:  # whatever is imported late
        train(*tiny_files(Path(name)), Path(name) / "run", "nno")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the run above has put its own in their place
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for section, chart in ((memory, "memory_chart"), (learning, "loss_chart"), (learning, "curves_chart")):
        setattr(section, chart, lambda *given: "")  # a second each, and they touch no file


def forked(
    work: Callable[[], None], kill_after: float | None = None, since: Callable[[], bool] = lambda: True
) -> Ended:
    """`work` in a forked process, which is killed so many seconds after `since` holds if it is not done by then."""
    began = time.monotonic()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os._exit(_status_of(work, write))
    os.close(write)
    if kill_after is not None:
        counted = None
        while counted is None or time.monotonic() - counted < kill_after:
            counted = time.monotonic() if counted is None and since() else counted
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                break
            time.sleep(0.001)
        else:
            os.kill(pid, signal.SIGKILL)
    with os.fdopen(read, encoding="utf-8", errors="replace") as pipe:
        words = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Ended(status, words.strip(), time.monotonic() - began)


def _status_of(work: Callable[[], None], pipe: int) -> int:
    """What the command line would end with; what it would say goes into the pipe."""
    import traceback

    from proxtune.errors import Interrupted, UserError

    said, status = "", 0
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            work()
    except UserError as error:
        said, status = str(error), 2
    except Interrupted as error:
        said, status = str(error), 128 + error.by
    except BaseException:
        said, status = traceback.format_exc(), 1
    os.write(pipe, said.encode()[-20_000:])
    sys.stderr.flush()
    return status


def train(data: Path, model: Path, out: Path, kind: str) -> None:
    """`proxtune train` of one of the kinds."""
    import proxtune.pipeline.supervisor
    from proxtune.config.recipe import Knobs, Recipe

    knobs = dict(KINDS[kind])
    method = knobs.pop("method")
    recipe = Recipe(data=str(data), out=str(out), model=str(model), method=method, knobs=Knobs(**knobs))
    proxtune.pipeline.supervisor.train(recipe)


def resume(out: Path) -> None:
    """`proxtune resume`."""
    import proxtune.pipeline.supervisor

    proxtune.pipeline.supervisor.resume(out)


def digest_of(out: Path) -> str | None:
    """Of the weights of a finished run."""
    path = out / "model" / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def phases_of(out: Path) -> dict[str, float]:
    """The phases that a run has come to, with their seconds so far; "begin" before the first."""
    from proxtune.storage.event_log import read_events

    told = read_events(out)
    begun = [("begin", 0.0)] + [(each["phase"], each["seconds"]) for each in told if each.get("kind") == "phase"]
    ends = [seconds for _, seconds in begun[1:]] + [max((each.get("seconds", 0.0) for each in told), default=0.0)]
    found: dict[str, float] = {}
    for (phase, seconds), end in zip(begun, ends, strict=True):
        found[phase] = max(0.0, end - seconds)
    return found
