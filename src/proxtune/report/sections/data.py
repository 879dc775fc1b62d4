"""The data: where the rows came from and how they were read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.formatting import DASH, amount, number, part, rows, shorten
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Section

_MOST_LABELS = 12


def data_facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of the rows; labels, an instruction and answers only where the task has them."""
    data = part(result, "data")
    labels = [shorten(name, 40) for name in rows(data, "labels")]
    longest = number(data.get("max_length"))
    facts = [
        ("source", shorten(data.get("source", DASH), 200)),
        ("training rows", amount(data.get("train_rows"))),
        ("validation rows", amount(data.get("validation_rows"))),
    ]
    if labels:
        more = f" and {len(labels) - _MOST_LABELS} more" if len(labels) > _MOST_LABELS else ""
        facts.append(("labels", ", ".join(labels[:_MOST_LABELS]) + more))
    if number(result.get("judged_answers")) is not None:
        facts.append(("scored answers", amount(result["judged_answers"])))
    if "instruction" in data:
        facts.append(("instruction", shorten(data["instruction"] or "none", 200)))
    facts += [
        ("maximum length", f"{amount(longest)} tokens" if longest else DASH),
        ("truncated rows", amount(data.get("truncated_rows"))),
    ]
    if number(data.get("new_tokens")) is not None:
        facts.append(("maximum answer length", f"{amount(data['new_tokens'])} tokens"))
    return facts


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    notes = [shorten(note, 400) for note in rows(part(run.result, "data"), "notes")]
    return {"facts": data_facts(run.result), "notes": notes}


SECTION = Section(name="data", title="Data", anchor="data", values=_values)
