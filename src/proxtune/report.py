"""The report of a run: one self-contained HTML page, made from the files of the run folder alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.durable import write_whole
from proxtune.errors import PersonError
from proxtune.metrics import said


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What a run folder says of itself; every part but `result` may be empty."""

    folder: Path
    result: dict[str, Any]
    plan: dict[str, Any]
    records: list[dict[str, Any]]
    recipe: str


def read_run(run_dir: Path) -> RunFiles:
    """Read the run folder `run_dir`. Raises PersonError when it holds no readable result.json."""
    run_dir = Path(run_dir)
    path = run_dir / "result.json"
    if not path.is_file():
        raise PersonError(f"{run_dir} has no result.json; give the folder that `proxtune train --out` wrote")
    result = _json(path)
    if not isinstance(result, dict):
        raise PersonError(f"{path} cannot be read as a proxtune result; train again into a new folder")
    plan = _json(run_dir / "plan.json")
    return RunFiles(
        folder=run_dir,
        result=result,
        plan=plan if isinstance(plan, dict) else {},
        records=said(run_dir),
        recipe=_text(run_dir / "recipe.toml"),
    )


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into `run_dir` and return its path. Raises PersonError."""
    from proxtune.report_view import page_values  # with jinja2 and matplotlib, only needed once training is over

    html = _render(page_values(read_run(run_dir)))
    return write_text(Path(run_dir) / "report.html", html)


def write_text(path: Path, text: str) -> Path:
    """Write `text` to `path`, whole or not at all. Raises PersonError."""
    try:
        write_whole(path, lambda place: _write_bytes(place, text.encode("utf-8", "replace")))  # lone surrogates too
    except OSError as error:
        raise PersonError(f"cannot write {path} ({error.strerror}); make room or allow writing there") from error
    return path


def _render(values: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # StrictUndefined: a misspelt name in the template is our fault and must not pass as an empty place on the page.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates"), encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(values)


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


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
