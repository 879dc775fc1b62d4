"""What a section of the report is, and what a report needs to know of a kind of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proxtune.report.cards.base import CardParts
from proxtune.report.run_files import RunFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A note at the top of the page; `kind` is "info", "warn" or "bad"."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A figure at the top of the page, with a line of detail below it."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of the page: what stands above it, and the values of its template.

    `name` is that of its partial template, `templates/sections/<name>.html.j2`, and `anchor` its id on the page. `values` are
    what the template names, or None where the run has nothing to say here; what is missing or odd in a run's files must not
    stop it.
    """

    name: str
    title: str
    anchor: str
    values: Callable[[RunFiles], Mapping[str, Any] | None]

    @property
    def template(self) -> str:
        """Its partial template, below `templates/`."""
        return f"sections/{self.name}.html.j2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSection(Section):
    """The section on the results of one kind of task, with what the head of the page and the model card say of them.

    `headline`, `lead`, `tiles` and `notes` take a result. `card` is the model card's part.
    """

    headline: Callable[[Mapping[str, Any]], str]
    lead: Callable[[Mapping[str, Any]], str]
    tiles: Callable[[Mapping[str, Any]], list[Tile]]
    notes: Callable[[Mapping[str, Any]], list[Note]]
    card: CardParts
