"""The model card: `README.md` beside the weights, in the form that model hubs read."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

from proxtune.config.plan import PHASES
from proxtune.report import model_card_generation
from proxtune.report.formatting import (
    BASELINES,
    DASH,
    amount,
    beats_baselines,
    duration,
    error_percent,
    generates,
    number,
    part,
    percent,
    rows,
    size,
)
from proxtune.report.html import write_text
from proxtune.report.markdown import HUB_ID, as_code, base_of, file_name, inline, markdown_table, name_of
from proxtune.report.run_files import read_run
from proxtune.report.sections.budget import budget_rows, measured_memory, promised_memory


def write_model_card(run_dir: Path, model_dir: Path) -> Path:
    """Write `README.md` into `model_dir` from the run folder `run_dir` and return its path. Raises UserError.

    A card is made to be published: it holds no row of the data and no folder of the machine.
    """
    result = read_run(run_dir).result
    writes = generates(result)
    parts = [
        _front_matter(result),
        _title(result),
        model_card_generation.opening(result) if writes else _opening(result),
        _warnings(result),
        model_card_generation.usage(result) if writes else _usage(result),
        model_card_generation.results(result) if writes else _results(result),
        _budget(result),
        _data(result),
        _training(result),
        model_card_generation.limits(result) if writes else _limits(result),
    ]
    return write_text(Path(model_dir) / "README.md", "\n".join(part for part in parts if part))


def _front_matter(result: dict[str, Any]) -> str:
    # JSON is YAML too, and quotes whatever a name may hold.
    writes = generates(result)
    kind = model_card_generation.pipeline_of(result) if writes else "text-classification"
    own = model_card_generation.kind_of(result) if writes else kind
    fields: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": kind,
        "tags": list(dict.fromkeys(("proxtune", kind, own))),
    }
    source = str(result.get("model_source") or "")
    if HUB_ID.fullmatch(source) and not Path(source).exists():
        fields["base_model"] = source
    metrics = model_card_generation.metrics(result) if writes else _metrics(result)
    if metrics:
        fields["metrics"] = list(dict.fromkeys(metric["type"] for metric in metrics))
        data = {"name": file_name(result), "type": "custom", "split": "validation"}
        fields["model-index"] = [
            {"name": name_of(result), "results": [{"task": {"type": own}, "dataset": data, "metrics": metrics}]}
        ]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---", ""])


def _metrics(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": kind, "name": name, "value": value}
        for kind, name, key in (("accuracy", "accuracy", "accuracy"), ("f1", "macro F1", "macro_f1"))
        if (value := number(part(result, "metrics").get(key))) is not None
    ]


def _title(result: dict[str, Any]) -> str:
    return f"# {inline(name_of(result))}\n"


def _opening(result: dict[str, Any]) -> str:
    labels = [inline(label, 40) for label in rows(part(result, "data"), "labels")]
    method = as_code(result.get("method"))
    text = f"A text classifier, fine-tuned from `{as_code(base_of(result))}` by proxtune (method `{method}`)"
    more = f" and {len(labels) - 20} more" if len(labels) > 20 else ""
    return text + (f" to answer one of: {', '.join(labels[:20])}{more}.\n" if labels else ".\n")


def _warnings(result: dict[str, Any]) -> str:
    told = []
    if result.get("status") == "interrupted":
        told.append("**Training was interrupted; this is the best point until then.**\n")
    if beats_baselines(result) is False:
        told.append("**It does not beat the baselines below.**\n")
    return "\n".join(told)


def _usage(result: dict[str, Any]) -> str:
    length = number(part(result, "data").get("max_length"))
    cut = f", truncation=True, max_length={length:.0f}" if length else ", truncation=True"
    packed = (number(part(result, "size").get("bits")) or 16) < 16
    install = (
        "pip install 'transformers>=5.21' torch compressed-tensors" if packed else "pip install transformers torch"
    )
    return f"""## Use

```
{install}
```

```python
from transformers import pipeline

classify = pipeline("text-classification", model="path/to/this/folder")
print(classify(["a dull, lifeless film"]{cut}))
```
"""


def _results(result: dict[str, Any]) -> str:
    table = [("this model, validation rows", part(result, "metrics"))]
    table += [
        (f"{BASELINES.get(n, n)}, validation rows", part(part(result, "baselines"), n))
        for n in part(result, "baselines")
    ]
    for source, found in part(result, "evaluations").items():
        name = PurePath(source).name
        table.append((f"this model, {name}", part(found, "metrics")))
        table += [
            (f"{BASELINES.get(n, n)}, {name}", part(part(found, "baselines"), n)) for n in part(found, "baselines")
        ]
    lines = [
        (name, percent(row.get("accuracy")), percent(row.get("macro_f1")), amount(row.get("loss")))
        for name, row in table
        if row
    ]
    if not lines:
        return "## Results\n\nNothing was measured.\n"
    return "## Results\n\n" + markdown_table(("", "accuracy", "macro F1", "loss"), lines)


def _budget(result: dict[str, Any]) -> str:
    keys = ("name", "limit", "promised", "measured", "error")
    lines = [tuple(str(row[key]) for key in keys) for row in budget_rows(result)]
    text = "## Budget\n\n"
    text += (
        markdown_table(("", "limit", "promised", "measured", "error of the promise"), lines)
        if lines
        else "None was given.\n"
    )
    expected, seen = promised_memory(result), measured_memory(result)
    phases = [
        (phase, size(expected.get(phase)), size(seen.get(phase)), error_percent(expected.get(phase), seen.get(phase)))
        for phase in PHASES
        if phase in expected or phase in seen
    ]
    return text + (
        "\n" + markdown_table(("memory in phase", "promised", "measured", "error"), phases) if phases else ""
    )


def _data(result: dict[str, Any]) -> str:
    data = part(result, "data")
    facts = [
        f"- {amount(data.get('train_rows'))} rows to learn from, {amount(data.get('validation_rows'))} to judge by"
    ]
    if data.get("source"):
        facts.insert(0, f"- from {inline(file_name(result))}")
    cut, length = number(data.get("truncated_rows")), number(data.get("max_length"))
    if cut and length:
        facts.append(f"- {amount(cut)} {'rows' if generates(result) else 'texts'} were cut to {amount(length)} tokens")
    return "## Data\n\n" + "\n".join(facts) + "\n"


def _training(result: dict[str, Any]) -> str:
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


def _limits(result: dict[str, Any]) -> str:
    length = number(part(result, "data").get("max_length"))
    longest = (
        f"\n- It learned from texts of at most {amount(length)} tokens; longer ones are outside what it has seen."
        if length
        else ""
    )
    return f"""## Limits

- It always answers one of its labels, also for a text that fits none.
- The scores above hold for texts like those it learned from; measure it on your own before you rely on it.
- The best point was chosen on the validation rows, so their score is a little kind.
- Its confidence is not calibrated, and it inherits what is one-sided in its base model and in the data.{longest}
"""
