"""The model card: `README.md` beside the weights, in the form that model hubs read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxtune.config.plan import PHASES
from proxtune.report.budget_figures import budget_lines, measured_memory, promised_memory
from proxtune.report.cards.base import CardParts
from proxtune.report.formatting import DASH, amount, duration, error_percent, number, part, size
from proxtune.report.html import write_text
from proxtune.report.markdown import HUB_ID, file_name, inline, markdown_table, name_of
from proxtune.report.run_files import read_run
from proxtune.report.scores import beats_baselines
from proxtune.report.sections.registry import result_section


def write_model_card(run_dir: Path, model_dir: Path) -> Path:
    """Write `README.md` into `model_dir` from the run folder `run_dir` and return its path. Raises UserError.

    A card is made to be published: it holds no row of the data and no folder of the machine.
    """
    result = read_run(run_dir).result
    card = result_section(result).card
    parts = [
        _front_matter(result, card),
        f"# {inline(name_of(result))}\n",
        card.opening(result),
        _warnings(result),
        card.usage(result),
        card.results(result),
        _budget(result),
        _data(result),
        _training(result),
        card.limits(result),
    ]
    return write_text(Path(model_dir) / "README.md", "\n".join(part for part in parts if part))


def _front_matter(result: Mapping[str, Any], card: CardParts) -> str:
    # JSON is YAML too, and quotes whatever a name may hold.
    pipeline_tag, kind = card.pipeline_tag(result), card.kind(result)
    fields: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": pipeline_tag,
        "tags": list(dict.fromkeys(("proxtune", pipeline_tag, kind))),
    }
    source = str(result.get("model_source") or "")
    if HUB_ID.fullmatch(source) and not Path(source).exists():
        fields["base_model"] = source
    metrics = card.metrics(result)
    if metrics:
        fields["metrics"] = list(dict.fromkeys(metric["type"] for metric in metrics))
        data = {"name": file_name(result), "type": "custom", "split": "validation"}
        fields["model-index"] = [
            {"name": name_of(result), "results": [{"task": {"type": kind}, "dataset": data, "metrics": metrics}]}
        ]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---", ""])


def _warnings(result: Mapping[str, Any]) -> str:
    found = []
    if result.get("status") == "interrupted":
        found.append("**Training was interrupted; this is the best checkpoint so far.**\n")
    if beats_baselines(result) is False:
        found.append("**It does not beat the baselines below.**\n")
    return "\n".join(found)


def _budget(result: Mapping[str, Any]) -> str:
    lines = [(line.name, line.limit, line.promised, line.measured, line.error) for line in budget_lines(result)]
    text = "## Budget\n\n"
    text += (
        markdown_table(("", "limit", "promised", "measured", "prediction error"), lines)
        if lines
        else "No budget was set.\n"
    )
    expected, seen = promised_memory(result), measured_memory(result)
    phases = [
        (phase, size(expected.get(phase)), size(seen.get(phase)), error_percent(expected.get(phase), seen.get(phase)))
        for phase in PHASES
        if phase in expected or phase in seen
    ]
    return text + (
        "\n" + markdown_table(("memory in phase", "promised", "measured", "prediction error"), phases) if phases else ""
    )


def _data(result: Mapping[str, Any]) -> str:
    data = part(result, "data")
    facts = [f"- {amount(data.get('train_rows'))} training rows, {amount(data.get('validation_rows'))} validation rows"]
    if data.get("source"):
        facts.insert(0, f"- from {inline(file_name(result))}")
    cut, length = number(data.get("truncated_rows")), number(data.get("max_length"))
    if cut and length:
        facts.append(f"- {amount(cut)} rows were truncated to {amount(length)} tokens")
    return "## Data\n\n" + "\n".join(facts) + "\n"


def _training(result: Mapping[str, Any]) -> str:
    plan = part(result, "plan")
    facts = [
        ("plan", plan.get("name") or plan.get("method")),
        ("steps", amount(result.get("steps"))),
        ("examples seen", amount(result.get("examples_seen"))),
        ("learning rate", amount(plan.get("learning_rate"))),
        ("seed", result.get("seed")),
        ("time", duration(part(result, "measured").get("seconds"))),
        ("versions", ", ".join(f"{n} {v}" for n, v in sorted(part(result, "versions").items()) if v)),
    ]
    lines = [f"- {name}: {inline(value, 300)}" for name, value in facts if value not in (None, "", DASH)]
    return "## Training\n\n" + "\n".join(lines) + "\n"
