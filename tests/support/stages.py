"""What tests of a run's processes share: scripts in the place of stages, what a fit ends with, and a session in this process."""

import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from proxtune.config.recipe import Recipe
from proxtune.memory.devices.registry import host_device
from proxtune.memory.governor import Governor
from proxtune.memory.phases import Phases
from proxtune.models.source import find_model
from proxtune.pipeline.process import StageHung
from proxtune.pipeline.result import FitResult
from proxtune.runtime.clock import Clock
from proxtune.runtime.session import Session
from proxtune.storage.events import Event
from proxtune.storage.run_folder import write_recipe
from proxtune.tasks.registry import find_task

STUCK = StageHung("the stage 'fit' stood still", "stuck")

_PRELUDE = f"""\
#!{sys.executable}
import json, os, signal, sys, time
job = json.loads(sys.stdin.read())["job"]
def say(record):
    print(json.dumps(record), flush=True)
def step(number):
    say({{"kind": "step", "step": number, "steps": 20, "seconds": 1.0, "loss": 0.5, "learning_rate": 0.001,
         "memory_bytes": 1, "examples_seen": 8}})
def end(result, outcome="done"):
    say({{"kind": "end", "outcome": outcome, "result" if outcome == "done" else "message": result}})
"""


def scripts_as_stages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`put(body)` puts a script in the place of every stage: `job`, `say(record)`, `step(number)` and `end(result)` are there."""

    def put(body: str) -> None:
        script = folder / "stage"
        script.write_text(_PRELUDE + textwrap.dedent(body))
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))

    return put


def fit_result(**changes) -> FitResult:
    """What a fit of a classifier ends with."""
    own = {
        "status": "done", "plan": {"method": "full"}, "predicted": {"memory_bytes": {"train": 9}, "seconds": 9.0},
        "step_downs": (), "steps": 6, "examples_seen": 48, "flops": 1e9, "metrics": {"accuracy": 0.75, "loss": 0.5},
        "artifact_bytes": 100, "memory_bytes": {"train": 8}, "size": None, "data": {"labels": ["a", "b"]},
        "model_source": "a folder", "results": {},
    }  # fmt: skip
    return FitResult(**(own | changes))


def session_of(recipe: Recipe, emit: Callable[[Event], None] = lambda event: None) -> Session:
    """The session of a recipe in this process, its folder made, without a budget."""
    folder = Path(recipe.out)
    folder.mkdir(exist_ok=True)
    write_recipe(recipe, folder / "recipe.toml")
    task, source, device = find_task(str(recipe.task)), find_model(recipe.model), host_device()
    meter = device.meter()
    return Session(
        recipe=recipe, folder=folder, source=source, task=task, data=task.encode(recipe, task.read(recipe), source.folder),
        device=device, clock=Clock(time.monotonic(), recipe.budget.time),
        governor=Governor(memory_bytes=recipe.budget.memory, meter=meter), phases=Phases(meter, 0), emit=emit,
    )  # fmt: skip


def save_something(folder: Path) -> None:
    """Leave weights in a run folder, as a training that made a step does."""
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "best.safetensors").write_bytes(b"weights")
