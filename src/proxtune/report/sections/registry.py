"""The sections of the report in their order: one file and one partial template each, one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.errors import UserError
from proxtune.report.sections import (
    answers,
    budget,
    classification,
    confusion,
    data,
    generation,
    learning,
    memory,
    mistakes,
    plans,
    race,
    recipe,
    size,
    step_downs,
    worst_answers,
)
from proxtune.report.sections.base import ResultSection, Section
from proxtune.tasks.registry import find_task

# by a task's `report_section`; the section of the run's task is the first of the page
RESULT_SECTIONS: Mapping[str, ResultSection] = {
    "classification": classification.SECTION,
    "generation": generation.SECTION,
}
SECTIONS: tuple[Section, ...] = (
    answers.SECTION,
    worst_answers.SECTION,
    budget.SECTION,
    size.SECTION,
    memory.SECTION,
    learning.SECTION,
    confusion.SECTION,
    mistakes.SECTION,
    race.SECTION,
    plans.SECTION,
    step_downs.SECTION,
    data.SECTION,
    recipe.SECTION,
)


def result_section(result: Mapping[str, Any]) -> ResultSection:
    """The section for the results of the run's task; that of classification for a task that is not installed here."""
    try:
        kind = find_task(str(result.get("task"))).report_section
    except UserError:  # an old run, or one of a package that is gone, still gets its report
        kind = "classification"
    return RESULT_SECTIONS.get(kind, classification.SECTION)
