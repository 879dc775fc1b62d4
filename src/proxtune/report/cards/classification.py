"""The model card's part on a model that tells classes apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from proxtune.report.cards.base import CardParts
from proxtune.report.formatting import amount, number, part, percent, rows
from proxtune.report.markdown import as_code, base_of, inline, markdown_table
from proxtune.report.scores import baseline_name

_KIND = "text-classification"  # what hubs call it


def metrics(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracy and macro F1 in the form of a hub's index."""
    return [
        {"type": kind, "name": name, "value": value}
        for kind, name, key in (("accuracy", "accuracy", "accuracy"), ("f1", "macro F1", "macro_f1"))
        if (value := number(part(result, "metrics").get(key))) is not None
    ]


def opening(result: Mapping[str, Any]) -> str:
    """What it is, and its labels."""
    labels = [inline(label, 40) for label in rows(part(result, "data"), "labels")]
    method = as_code(result.get("method"))
    text = f"A text classifier, fine-tuned from `{as_code(base_of(result))}` by proxtune (method `{method}`)."
    more = f" and {len(labels) - 20} more" if len(labels) > 20 else ""
    return text + (f" Its labels are {', '.join(labels[:20])}{more}.\n" if labels else "\n")


def usage(result: Mapping[str, Any]) -> str:
    """Code that classifies a text, by transformers alone."""
    if part(result, "data").get("label_token_ids"):
        return _usage_by_words(result)
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


def _pipeline_of(result: Mapping[str, Any]) -> str:
    """The hubs' name of how the model is run: one that answers by words is a language model to them."""
    data = part(result, "data")
    if not data.get("label_token_ids"):
        return _KIND
    return "text2text-generation" if data.get("is_encoder_decoder") else "text-generation"


def _usage_by_words(result: Mapping[str, Any]) -> str:
    """Of a language model whose next token is a label's."""
    data = part(result, "data")
    length = number(data.get("max_length")) or 512
    kind = "AutoModelForSeq2SeqLM" if data.get("is_encoder_decoder") else "AutoModelForCausalLM"
    return f"""## Use

transformers has no classifier class for this architecture. The model is its language model: the token that it says next stands
for a label, and `label_token_ids` in its `config.json` says which, in the order of `id2label`. Its tokenizer asks the question.

```
pip install transformers torch
```

```python
from transformers import {kind}, AutoTokenizer

folder = "path/to/this/folder"
tokenizer, model = AutoTokenizer.from_pretrained(folder), {kind}.from_pretrained(folder)
row = tokenizer(["a dull, lifeless film"], truncation=True, max_length={length:.0f}, return_tensors="pt")
said = model.generate(**row, max_new_tokens=1, output_logits=True, return_dict_in_generate=True)
chosen = said.logits[0][0, model.config.label_token_ids].argmax().item()
print(model.config.id2label[chosen])
```
"""


def results(result: Mapping[str, Any]) -> str:
    """Its scores beside those of the baselines, here and on other files."""
    table = [("this model, validation rows", part(result, "metrics"))]
    table += [(f"{name}, validation rows", row) for name, row in _baselines(result)]
    for source, found in part(result, "evaluations").items():
        file = PurePath(source).name
        table.append((f"this model, {file}", part(found, "metrics")))
        table += [(f"{name}, {file}", row) for name, row in _baselines(found)]
    lines = [
        (name, percent(row.get("accuracy")), percent(row.get("macro_f1")), amount(row.get("loss")))
        for name, row in table
        if row
    ]
    if not lines:
        return "## Results\n\nNothing was measured.\n"
    return "## Results\n\n" + markdown_table(("", "accuracy", "macro F1", "loss"), lines)


def limits(result: Mapping[str, Any]) -> str:
    """What not to expect of it."""
    length = number(part(result, "data").get("max_length"))
    longest = (
        f"\n- It was trained on texts of at most {amount(length)} tokens and truncates longer ones." if length else ""
    )
    return f"""## Limits

- It always predicts one of its labels, even for a text that fits none.
- The scores above hold for texts like the training data; measure it on your own before you rely on it.
- The best checkpoint was chosen on the validation rows, so their score is slightly optimistic.
- Its confidence is not calibrated, and it inherits the biases of its base model and of the data.{longest}
"""


def _baselines(found: Any) -> list[tuple[str, dict[str, Any]]]:
    baselines = part(found, "baselines")
    return [(baseline_name(name), part(baselines, name)) for name in baselines]


CARD = CardParts(
    pipeline_tag=_pipeline_of,
    kind=lambda result: _KIND,
    metrics=metrics,
    opening=opening,
    usage=usage,
    results=results,
    limits=limits,
)
