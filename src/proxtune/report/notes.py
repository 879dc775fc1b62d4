"""The notes at the top of a report: what a reader must know before the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxtune.report.budget_figures import budget_lines
from proxtune.report.formatting import amount, duration, number, rows, shorten
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Note
from proxtune.report.sections.registry import result_section

_MOST_SHOWN = 20


def notes_of(run: RunFiles) -> list[Note]:
    """Every note on the run: interruptions, whether it was worth it, limits that were broken, and steps that failed."""
    result = run.result
    return [
        *_interruptions(result),
        *result_section(result).notes(result),
        *(
            Note(kind="bad", text=f"Over budget: {line.name} was {line.measured}, the limit {line.limit}.")
            for line in budget_lines(result)
            if line.over
        ),
        *_failed_steps(run.records),
    ]


def _interruptions(result: Mapping[str, Any]) -> Iterator[Note]:
    if result.get("status") == "interrupted":
        why = f": {shorten(result['hung'], 600)}" if isinstance(result.get("hung"), str) else ""
        text = (
            f"This run was interrupted{why}. The best model so far is in model/; `proxtune resume` continues the run."
        )
        yield Note(kind="warn", text=text)
    for each in rows(result, "interruptions")[:_MOST_SHOWN]:
        yield Note(kind="info", text=_interruption(each if isinstance(each, dict) else {}))


def _interruption(each: Mapping[str, Any]) -> str:
    """One interruption, in a sentence."""
    how = f"{shorten(each['after'], 30)} stopped the run" if each.get("after") else "the run ended unexpectedly"
    where = f" in phase {shorten(each['phase'], 30)}" if each.get("phase") else ""
    resumed = ""
    if number(each.get("from_step")) is not None:
        repeated = max(0, int(number(each.get("last_step")) or 0) - int(each["from_step"]))
        resumed = f"; it resumed from step {amount(each['from_step'])}" + (
            f" ({repeated} steps repeated)" if repeated else ""
        )
    notes = "".join(f" {shorten(note, 300)}." for note in rows(each, "notes"))
    return f"After {duration(each.get('seconds'))} {how}{where}{resumed}.{notes}"


def _is_lost(step: Mapping[str, Any]) -> bool:
    """Whether a step's loss was not a number; one whose rows were all left out has none, and no learning rate."""
    return number(step["loss"]) is None and step.get("learning_rate") != 0


def _failed_steps(records: Sequence[Mapping[str, Any]]) -> Iterator[Note]:
    faulty = {shorten(row, 200) for r in records if r.get("kind") == "rejected" for row in rows(r, "rows")}
    if faulty:
        named = ", ".join(sorted(faulty)[:_MOST_SHOWN])
        yield Note(
            kind="warn", text=f"Rows whose loss or gradient was not finite, and that were not learned from: {named}."
        )
    refused = {shorten(row, 200) for r in records if r.get("kind") == "left_out" for row in rows(r, "rows")}
    if refused:
        named = ", ".join(sorted(refused)[:_MOST_SHOWN])
        yield Note(
            kind="warn", text=f"Rows too large for the memory even alone, and that were not learned from: {named}."
        )
    lost = sum(1 for r in records if r.get("kind") == "step" and "loss" in r and _is_lost(r))
    if lost:
        text = f"The loss was not a number in {amount(lost)} steps; a smaller learning rate may help."
        yield Note(kind="warn", text=text)
