"""Resuming: what a training depends on, what has changed since it began, and its journal opened again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.checkpoint.checkpointer import Checkpointer
from proxtune.checkpoint.history import Begun, History, PinsChanged, Returned, encode_event, read_history
from proxtune.checkpoint.snapshot import STOPPED, remove_weights, snapshots
from proxtune.config.plan import Plan, plan_as_dict
from proxtune.data.dataset import Encoded
from proxtune.errors import UserError
from proxtune.pipeline.result import FitStart, versions
from proxtune.runtime.session import Session
from proxtune.storage.journal import Journal, read_records
from proxtune.storage.result import HEAD
from proxtune.storage.safetensors_header import check_files

JOURNAL = "journal.bin"
ORDER = (
    1  # of operations: another number where the same plan, rows and seed lead elsewhere than with the version before
)
_WORDS = {
    "weights": "the base model's weights", "head": "the fitted classification layer", "rows": "the rows", "seed": "the seed",
    "order": "the order of operations", "device": "the device", "threads": "the number of threads",
    "processor": "the processor", "versions": "the versions of the libraries",
}  # fmt: skip
# What NNO's records lead somewhere else with. The rest changes what a loss comes to, but not what a record says was done.
_BASE = {"weights", "head", "rows", "seed", "order"}


def resumable_start(session: Session) -> FitStart | None:
    """What the training began with that the folder has a journal of. Raises UserError."""
    path = session.folder / JOURNAL
    check_files(session.folder, [JOURNAL, "snapshots"])
    if not path.is_file():
        return None
    history = read_history(path, [data for _, data in read_records(path)][:1], session.data.train.objective.rank)
    start = FitStart.from_dict(history.selection)
    session.governor.step_downs[:0] = start.step_downs
    return start


def open_checkpointer(session: Session, plan: Plan, start: FitStart, model: Any, exact: bool) -> Checkpointer:
    """The checkpointer of a training of `plan`: with a new journal, or with the one that is there and all that it says.

    Raises UserError where something has changed since and the training is to be resumed `exact`ly.
    """
    path, pins, rank = session.folder / JOURNAL, pins_of(session), session.data.train.objective.rank
    if not path.exists():
        begun = Begun(plan=plan_as_dict(plan), selection=start.as_dict(), pins=pins)
        journal = Journal.create(path, encode_event(begun))
        return Checkpointer(
            folder=session.folder,
            model=model,
            journal=journal,
            history=History(plan=plan, selection=begun.selection, pins=pins, rank=rank),
        )
    journal, found = Journal.open(path)
    history = read_history(path, found, rank)
    remove_weights(session.folder, STOPPED)
    changed = [name for name in pins if history.pins.get(name) != pins[name]]
    if not changed:
        return Checkpointer(folder=session.folder, model=model, journal=journal, history=history)
    notes = tuple(_difference(name, history.pins.get(name), pins[name]) for name in changed)
    if exact:
        raise UserError(f"cannot resume exactly: {'; '.join(notes)}; restore it, or drop --exact")
    if plan.neighbours == 0 or _BASE.intersection(changed):
        _discard_since_snapshot(session.folder, journal, history)
    changed_pins = PinsChanged(pins=pins)
    journal.append(encode_event(changed_pins))
    history.add_event(changed_pins)
    return Checkpointer(folder=session.folder, model=model, journal=journal, history=history, notes=notes)


def pins_of(session: Session) -> dict[str, Any]:
    """What the steps of a training depend on, but for its plan: digests of weights, head and rows; the seed; the machine."""
    import torch

    data = session.data
    return {
        "weights": _digest_of_files(sorted(session.source.folder.glob("*.safetensors"))),
        "head": _digest_of_files([path for path in (session.folder / HEAD,) if path.is_file()]),
        "rows": _digest_of_rows(data.train, data.validation),
        "seed": session.recipe.seed,
        "order": ORDER,
        "device": session.device.name,
        "threads": torch.get_num_threads(),
        "processor": _processor(),
        "versions": {name: value for name, value in versions().items() if name not in ("proxtune", "scikit-learn")},
    }  # fmt: skip


def _discard_since_snapshot(folder: Path, journal: Journal, history: History) -> None:
    """What came after the last snapshot was computed with what has changed since: it is computed anew."""
    latest = snapshots(folder)
    step = int(latest[0].stem.rpartition("-")[2]) if latest else 0
    event = Returned(step=step)
    journal.append(encode_event(event))
    history.add_event(event)


def _difference(name: str, before: Any, now: Any) -> str:
    if name == "versions" and isinstance(before, dict):
        changed = [f"{key} {before.get(key)} → {value}" for key, value in now.items() if before.get(key) != value]
        return f"library versions changed: {', '.join(changed)}"
    words = _WORDS[name]
    if isinstance(now, str) and len(now) == 64:
        return f"{words} changed"
    return f"{words} changed from {before} to {now}"


def _digest_of_files(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.stat().st_size.to_bytes(8, "little"))
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def _digest_of_rows(*data: Encoded) -> str:
    digest = hashlib.sha256()
    for part in data:
        answers = [] if part.answers is None else [part.answers.ids, part.answers.starts]
        for array in (part.ids, part.starts, part.labels, *([] if part.begins is None else [part.begins]), *answers):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
