"""Snapshots: all that a training needs to go on, in one file: weights that learn, optimizer, random numbers, progress.

`snapshots/step-00000120.safetensors` is there whole or not at all. A new one is on disk and read again before the old one goes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxtune.errors import DiskFailed, PersonError
from proxtune.headers import BadTensors, Entry, Header
from proxtune.models import enable_checkpointing
from proxtune.progress import Progress
from proxtune.tensors import read_into, verified, write_tensors

_FOLDER, _BEGIN, _END = "snapshots", "step-", ".safetensors"
BEST, STOPPED = "best", "stopped"  # the best point of all that were judged; the point at which a run was stopped
_WEIGHTS, _BESIDE, _RANDOM = "weights/", "beside/", "random"


def weights_of(model: Any) -> dict[str, Tensor]:
    """The weights that learn, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def save_snapshot(folder: Path, model: Any, beside: Mapping[str, Tensor], at: Progress) -> None:
    """Write the snapshot of `at`, read it again, and let go of those before it.

    `beside` is what the optimizer has. Nothing is copied. Raises OSError and DiskFailed; the last snapshot is there then.
    """
    (folder / _FOLDER).mkdir(exist_ok=True)
    path = _path(folder, at.step)
    tensors = {_WEIGHTS + name: p for name, p in weights_of(model).items()}
    tensors |= {_BESIDE + name: tensor for name, tensor in beside.items()} | {_RANDOM: torch.get_rng_state()}
    write_tensors(path, tensors, {"progress": json.dumps(at.as_dict())})
    _read_again(path)
    for former in snapshots(folder):
        if former != path:
            with contextlib.suppress(OSError):
                former.unlink()


def snapshots(folder: Path) -> list[Path]:
    """The snapshots of a run, the latest first."""
    return sorted((folder / _FOLDER).glob(f"{_BEGIN}*{_END}"), reverse=True)


def forget_snapshots(folder: Path) -> None:
    """Remove all snapshots, once nothing needs them; the best weights stay."""
    for path in snapshots(folder):
        with contextlib.suppress(OSError):
            path.unlink()


def open_snapshot(path: Path, model: Any) -> Header:
    """The snapshot's header, every byte checked, and its weights held against the model's: before memory is taken for it.

    Raises BadTensors.
    """
    if path.is_symlink():
        raise BadTensors(f"{path} is a link; it is not opened")
    header = verified(path)
    weights = weights_of(model)
    named = {name.removeprefix(_WEIGHTS) for name in header.entries if name.startswith(_WEIGHTS)}
    if named != weights.keys():
        raise BadTensors(f"{path} is of a model with other weights")
    for name, entry in header.entries.items():
        if name.startswith(_BESIDE):
            owner = weights.get(name.removeprefix(_BESIDE).rpartition("/")[0])
            if owner is None or entry.count > max(1, owner.numel()):
                raise BadTensors(f"{path}: {name[:80]} belongs to no weight of this model")
    return header


def restore(
    path: Path, header: Header, model: Any, plan: Any, make: Callable[[dict[str, Entry]], Mapping[str, Tensor]]
) -> Progress:
    """Put the snapshot into the model and into what `make` makes for the optimizer; returns the progress.

    Raises BadTensors, PersonError.
    """
    beside = {name.removeprefix(_BESIDE): e for name, e in header.entries.items() if name.startswith(_BESIDE)}
    random = torch.get_rng_state()
    targets: dict[str, Tensor] = {_WEIGHTS + name: p for name, p in weights_of(model).items()}
    targets |= {_BESIDE + name: tensor for name, tensor in make(beside).items()} | {_RANDOM: random}
    try:
        at = Progress.from_dict(plan, json.loads(header.metadata["progress"]))
    except (ValueError, TypeError, KeyError) as error:
        raise PersonError(f"{path} does not say how far it came: {error}") from error
    read_into(path, header, targets)
    torch.set_rng_state(random)
    if at.plan.checkpointing and not plan.checkpointing:
        enable_checkpointing(model)
    return at


def return_to_snapshot(model: Any, folder: Path) -> int | None:
    """Put the weights of the last snapshot that is whole into the model; its step. None where there is none."""
    for path in snapshots(folder):
        with contextlib.suppress(BadTensors):
            header = open_snapshot(path, model)
            read_into(path, header, {_WEIGHTS + name: p for name, p in weights_of(model).items()})
            return int(path.stem.removeprefix(_BEGIN))
    return None


def keep_weights(model: Any, folder: Path, name: str = BEST) -> None:
    """Write the weights that learn as the best so far; the former best stays until the new one is on disk. Raises OSError."""
    (folder / _FOLDER).mkdir(exist_ok=True)
    write_tensors(_kept(folder, name), weights_of(model), {})


def has_weights(folder: Path, name: str = BEST) -> bool:
    """Whether such a point is on disk."""
    return _kept(folder, name).is_file()


def return_to_weights(model: Any, folder: Path, name: str = BEST) -> None:
    """Put the kept weights back into the model, tensor by tensor, every byte of them checked. Raises BadTensors."""
    path = _kept(folder, name)
    read_into(path, verified(path), weights_of(model))


def forget_weights(folder: Path, name: str) -> None:
    """Remove a point that is not needed any more."""
    _kept(folder, name).unlink(missing_ok=True)


def _kept(folder: Path, name: str) -> Path:
    return folder / _FOLDER / f"{name}{_END}"


def _path(folder: Path, step: int) -> Path:
    return folder / _FOLDER / f"{_BEGIN}{step:08d}{_END}"


def _read_again(path: Path) -> None:
    """Read what was written, from the disk where the system lets go of its own copy. Raises DiskFailed, OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(AttributeError, OSError):  # not on every system
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    try:
        verified(path)
    except BadTensors as error:
        raise DiskFailed(f"the disk gave back something else than was written: {error}") from error
