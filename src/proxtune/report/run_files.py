"""The files of a run that its report is made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.errors import UserError
from proxtune.storage.event_log import read_events


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """What a run folder says of itself; every part but `result` may be empty."""

    folder: Path
    result: Mapping[str, Any]
    plan: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]  # events as they were written, perhaps by an earlier version
    recipe: str


def read_run(run_dir: Path) -> RunFiles:
    """Read the run folder `run_dir`. Raises UserError when it holds no readable result.json."""
    run_dir = Path(run_dir)
    path = run_dir / "result.json"
    if not path.is_file():
        raise UserError(f"{run_dir} has no result.json; give the folder that `proxtune train --out` wrote")
    result = _json(path)
    if not isinstance(result, dict):
        raise UserError(f"{path} cannot be read as a proxtune result; train again into a new folder")
    plan = _json(run_dir / "plan.json")
    return RunFiles(
        folder=run_dir,
        result=result,
        plan=plan if isinstance(plan, dict) else {},
        records=read_events(run_dir),
        recipe=_text(run_dir / "recipe.toml"),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError:
        return None
