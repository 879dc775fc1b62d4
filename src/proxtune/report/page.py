"""What the report says, as plain values for its templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxtune.report.budget_figures import measured_memory, peak_of
from proxtune.report.formatting import DASH, duration, part, shorten, size
from proxtune.report.notes import notes_of
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Note, Section, Tile
from proxtune.report.sections.registry import SECTIONS, result_section


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The head of the page, and the sections that have something to say, each with the values of its template."""

    title: str
    status: str
    headline: str
    lead: str
    notes: list[Note]
    tiles: list[Tile]
    sections: list[tuple[Section, Mapping[str, Any]]]


def page_of(run: RunFiles) -> Page:
    """The page of a run."""
    result, own = run.result, result_section(run.result)
    found = ((section, section.values(run)) for section in (own, *SECTIONS))
    return Page(
        title=f"{shorten(result.get('model', 'model'), 60)} · {shorten(result.get('method', DASH), 30)}",
        status=shorten(result.get("status", "unknown"), 30),
        headline=own.headline(result),
        lead=own.lead(result),
        notes=notes_of(run),
        tiles=[*own.tiles(result), *_budget_tiles(result)],
        sections=[(section, values) for section, values in found if values is not None],
    )


def _budget_tiles(result: Mapping[str, Any]) -> list[Tile]:
    budget, seconds = part(result, "budget"), part(result, "measured").get("seconds")
    return [
        Tile(name="Peak memory", value=size(peak_of(measured_memory(result))), detail=_of(size(budget.get("memory")))),
        Tile(name="Time", value=duration(seconds), detail=_of(duration(budget.get("time")))),
        Tile(name="Model", value=size(result.get("artifact_bytes")), detail=_of(size(budget.get("size")))),
    ]


def _of(limit: str) -> str:
    return "no limit set" if limit == DASH else f"of {limit}"
