"""Memory: in use over time, and what the training phase was predicted to need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.budget_figures import promised_memory
from proxtune.report.charts import memory_chart
from proxtune.report.formatting import number, part, percent, shorten, size
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Section

_TERMS = {
    "supervisor": "the process that watches the run",
    "libraries": "Python, PyTorch and the other libraries",
    "weights": "the model itself",
    "gradients": "one number for each trained parameter",
    "optimizer": "the optimizer's state",
    "activations": "kept from forward to backward, largest batch",
    "kernels": "working space of matrix kernels",
    "slack": "reserved by the allocator but not in use",
    "latent": "full-precision weights beside the compressed ones",
    "data": "tokenized rows",
}


def terms(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the memory of the phase `train` was predicted to be made of."""
    raw = part(part(result, "predicted"), "terms") or part(part(part(result, "plan"), "cost"), "terms")
    known = {name: value for name, raw_value in raw.items() if (value := number(raw_value)) and value > 0}
    names = [name for name in _TERMS if name in known] + sorted(set(known) - set(_TERMS))
    total = sum(known.values())
    if not names:
        return None
    return {
        "total": size(total),
        "rows": [
            {
                "name": shorten(name, 30),
                "why": _TERMS.get(name, ""),
                "bytes": size(known[name]),
                "share": percent(known[name] / total),
                "width": round(100 * known[name] / total, 3),
                "tint": index % 9,
            }
            for index, name in enumerate(names)
        ],
    }


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    limit = number(part(run.result, "budget").get("memory"))
    chart, predicted = memory_chart(run.records, limit, promised_memory(run.result)), terms(run.result)
    return {"chart": chart, "terms": predicted} if chart or predicted else None


SECTION = Section(name="memory", title="Memory", anchor="memory", values=_values)
