"""The report of a run: one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from proxtune.errors import UserError
from proxtune.report.run_files import read_run
from proxtune.storage.atomic import write_atomic

if TYPE_CHECKING:
    from proxtune.report.page import Page


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into `run_dir` and return its path. Raises UserError."""
    from proxtune.report.page import page_of  # with jinja2 and matplotlib, only needed once training is over

    return write_text(Path(run_dir) / "report.html", render(page_of(read_run(run_dir))))


def write_text(path: Path, text: str) -> Path:
    """Write `text` to `path`, whole or not at all. Raises UserError."""
    try:
        write_atomic(path, lambda place: _write_bytes(place, text.encode("utf-8", "replace")))  # lone surrogates too
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); free disk space or check the permissions") from error
    return path


def render(page: Page) -> str:
    """The page as HTML: the partial template of each section, and the frame around them."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # StrictUndefined: a misspelt name in the template is our fault and must not pass as an empty place on the page.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates"), encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [
        {
            "anchor": section.anchor,
            "title": section.title,
            "body": environment.get_template(section.template).render(values),
        }
        for section, values in page.sections
    ]
    return environment.get_template("report.html.j2").render(page=page, sections=sections)


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
