"""The size limit: how many bytes each weight got."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.formatting import amount, number, part, percent, shorten, size
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Section

_MOST_WEIGHTS = 80
_TINTS = {"fp16": 0, "fp8": 1}  # codes have the next


def allocation(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The allocation of bytes: the weights that take most, the rest as one, and what a byte more would save."""
    size_facts = part(result, "size")
    weights = {
        name: own
        for name, own in part(size_facts, "weights").items()
        if isinstance(own, dict) and number(own.get("bytes"))
    }
    if not weights:
        return None
    total = sum(own["bytes"] for own in weights.values())
    costs = sum(number(own.get("cost")) or 0.0 for own in weights.values())
    ordered = sorted(weights.items(), key=lambda item: -item[1]["bytes"])
    shown = [
        {
            "name": shorten(name, 90),
            "format": shorten(own.get("name", ""), 30),
            "bytes": size(own["bytes"]),
            "width": round(100 * own["bytes"] / total, 3),
            "cost": percent((number(own.get("cost")) or 0.0) / costs) if costs else percent(0.0),
            "tint": _TINTS.get(str(own.get("name")), 2),
        }
        for name, own in ordered[:_MOST_WEIGHTS]
    ]
    others = ordered[_MOST_WEIGHTS:]
    return {
        "weights": shown,
        "others": f"{len(others)} smaller ones, {size(sum(own['bytes'] for _, own in others))}" if others else "",
        "saved": size(result.get("artifact_bytes")),
        "limit": size(size_facts.get("size_bytes")),
        "bits": amount(size_facts.get("bits")),
        "vocabulary": amount(size_facts.get("vocabulary")),
        "blocks": amount(size_facts.get("blocks")),
        "multiplier": amount(1e6 * (number(size_facts.get("multiplier")) or 0.0)),
        "gap": amount(size_facts.get("gap")),
    }


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    return allocation(run.result)


SECTION = Section(name="size", title="Size", anchor="size", values=_values)
