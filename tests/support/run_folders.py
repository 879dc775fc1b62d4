"""What run folders say of their trainings."""

import json
import shutil
from pathlib import Path
from typing import Any


def finished_run(folder: Path, model: Path) -> Path:
    """A run folder as far as an export looks at it: with a model and its card."""
    folder.mkdir()
    shutil.copytree(model, folder / "model")
    (folder / "model" / "README.md").write_text("a card")
    (folder / "result.json").write_text(json.dumps({"status": "done", "method": "lora"}))
    (folder / "recipe.toml").write_text('data = "x"\nout = "y"\ntask = "translate"\n')
    return folder


def assert_same_training(one: Path, other: Path) -> None:
    """`other`, which was interrupted, made the steps of `one` and ended where that ended.

    The loss of each step says so, to the last step. The weights are the same files where both were evaluated at the same steps;
    how often a training is evaluated follows from how fast the machine was when it was planned, and the best point is kept.
    """
    steps, resumed = _losses(one), _losses(other)
    assert resumed <= steps
    assert max(resumed) == max(steps)
    if _evaluated(one) == _evaluated(other):
        assert _weights(one) == _weights(other)


def _losses(folder: Path) -> set[tuple[int, float]]:
    return {(event["step"], event["loss"]) for event in _events(folder) if event["kind"] == "step"}


def _evaluated(folder: Path) -> set[int]:
    """The steps after which it was, but for those where the user stopped it."""
    events = [event for event in _events(folder) if event["kind"] == "validation"]
    return {event["step"] for event in events if not event.get("stopped", False)}


def _weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def _events(folder: Path) -> list[dict[str, Any]]:
    """Those on the lines that are whole: a process that is killed may leave part of one."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
