"""From what has learned to the plain transformers model, in memory or by way of files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from proxtune.config.plan import Plan
from proxtune.export.merged_files import copy_weights, write_merged
from proxtune.methods.registry import find_method
from proxtune.runtime.model_setup import loaded, loaded_from, weights_folder
from proxtune.runtime.session import Session

_FOLDER = ".merged.part"  # in the run folder
_CONFIGS = ("config.json", "generation_config.json")


def merged_model(model: Any, plan: Plan, session: Session) -> tuple[Any, Path | None]:
    """The plain model, and the folder that has its weights as files, where they are streamed: there they are merged in a copy.

    `model` is spent. Raises OSError where the copy cannot be written.
    """
    if not plan.streamed:
        return find_method(plan.method).finish(model, plan), None
    source, target = weights_folder(plan, session), _new_folder(session)
    write_merged(model, source, target)
    _copy_configs(source, target)
    let_go(model, session)
    return loaded_from(target, plan, session), target


def base_model(spent: Any, plan: Plan, session: Session) -> tuple[Any, Path | None]:
    """The base model, in the memory that `spent` gives back; with a folder of its weights where they are streamed."""
    let_go(spent, session)
    if not plan.streamed:
        return loaded(plan, session), None
    target = _new_folder(session)
    copy_weights(weights_folder(plan, session), target)
    return loaded(plan, session), target


def let_go(model: Any, session: Session) -> None:
    """Free the tensors of a model: others still refer to what is left of it."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.new_empty(0)
    session.meter.trim()


def _new_folder(session: Session) -> Path:
    target = session.folder / _FOLDER
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    return target


def _copy_configs(source: Path, target: Path) -> None:
    for name in _CONFIGS:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
