"""The model card's part on a model that generates text: how to prompt it with transformers alone, its scores, its limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from proxtune.data.examples import Message
from proxtune.report.cards.base import CardParts
from proxtune.report.formatting import amount, number, part
from proxtune.report.markdown import as_code, base_of, markdown_table
from proxtune.report.scores import score_table
from proxtune.tasks.generation.prompting import PromptFormat, answer_label, prompt_of
from proxtune.tasks.generation.scoring.metrics import NAMES, in_points

_KINDS = {"summarize": "summarization", "translate": "translation", "instruct": "text-generation"}
_ENCODER_DECODER_PIPELINES = {"instruct": "text2text-generation"}  # where it is not called after the task
_TYPES = {
    "rougeL": "rouge", "rouge1": "rouge", "rouge2": "rouge", "bleu": "bleu", "chrf": "chrf", "exact": "exact_match",
}  # fmt: skip
_DOES = {"summarize": "summarizes", "translate": "translates", "instruct": "answers"}
_TEXTS = {"summarize": "A long text.", "translate": "Good morning.", "instruct": "What can you do?"}
_PLACE = "\ue000"  # where the text goes, in a prompt of any instruction


def kind_of(result: Mapping[str, Any]) -> str:
    """What hubs call the task."""
    return _KINDS.get(str(result.get("task")), "text-generation")


def pipeline_of(result: Mapping[str, Any]) -> str:
    """The hubs' name of how the model is run: a decoder generates text, whatever its task."""
    if part(result, "data").get("asked_as") != "source":
        return "text-generation"
    return _ENCODER_DECODER_PIPELINES.get(str(result.get("task")), kind_of(result))


def metrics(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The scores in the form of a hub's index, in points."""
    return [
        {"type": _TYPES[key], "name": NAMES[key], "value": round(in_points(key, value), 4)}
        for key in NAMES
        if (value := number(part(result, "metrics").get(key))) is not None
    ]


def opening(result: Mapping[str, Any]) -> str:
    """What it is."""
    method = as_code(result.get("method"))
    does = _DOES.get(str(result.get("task")), "writes")
    return (
        f"A language model that {does}, fine-tuned from `{as_code(base_of(result))}` by proxtune (method `{method}`).\n"
    )


def usage(result: Mapping[str, Any]) -> str:
    """Code that prompts the model, by transformers alone, in the format that it was trained on."""
    asked_as = part(result, "data").get("asked_as")
    run = _run_apart if asked_as == "source" else _run_messages if asked_as == "messages" else _run_prompt
    text = _TEXTS.get(str(result.get("task")), "A text.")
    return f"""## Use

```
pip install transformers torch
```

```python
{run(result, f"text = {text!r}")}
```

{_hint(result)}"""


def _run_messages(result: Mapping[str, Any], text: str) -> str:
    instruction = f"{part(result, 'data').get('instruction') or ''}"
    content = f"{_quoted(f'{instruction}{chr(10) * 2}')} + text" if instruction else "text"
    return f"""from transformers import pipeline

answer = pipeline("text-generation", model="path/to/this/folder")
{text}
messages = [{{"role": "user", "content": {content}}}]
print(answer(messages, return_full_text=False)[0]["generated_text"].strip())"""


def _run_prompt(result: Mapping[str, Any], text: str) -> str:
    return f"""from transformers import pipeline

answer = pipeline("text-generation", model="path/to/this/folder")
{text}
prompt = {_prompt(result, apart=False)}
print(answer(prompt, return_full_text=False)[0]["generated_text"].strip())"""


def _run_apart(result: Mapping[str, Any], text: str) -> str:
    return f"""from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

folder = "path/to/this/folder"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSeq2SeqLM.from_pretrained(folder)
{text}
prompt = {_prompt(result, apart=True)}
ids = tokenizer(prompt, return_tensors="pt", truncation=True).input_ids
print(tokenizer.decode(model.generate(ids)[0], skip_special_tokens=True).strip())"""


def _prompt(result: Mapping[str, Any], apart: bool) -> str:
    """The prompt as an expression of Python with the name `text` in it."""
    task, instruction = str(result.get("task")), str(part(result, "data").get("instruction") or "")
    prompt_format = PromptFormat(
        task=task,
        instruction=instruction,
        stop_ids=(),
        closing=(),
        label=answer_label(task),
        uses_chat_template=False,
        is_encoder_decoder=apart,
    )
    before, _, after = prompt_of((Message("user", _PLACE),), prompt_format, None).partition(_PLACE)
    return " + ".join([*([_quoted(before)] if before else []), "text", *([_quoted(after)] if after else [])])


def _quoted(text: str) -> str:
    """A literal of Python that ends no code block of Markdown."""
    return repr(text).replace("`", "\\x60")


def _hint(result: Mapping[str, Any]) -> str:
    tokens = amount(part(result, "data").get("new_tokens"))
    text = f"It generates greedily, at most {tokens} tokens, as its `generation_config.json` says.\n"
    if part(result, "data").get("instruction"):
        text += "It was trained with exactly the words around the text in this code; keep them.\n"
    return text


def results(result: Mapping[str, Any]) -> str:
    """Its scores beside those of the base model and of the baselines, here and on other files."""
    tables = [("validation rows", score_table(result))]
    tables += [(PurePath(source).name, score_table(found)) for source, found in part(result, "evaluations").items()
               if isinstance(found, dict)]  # fmt: skip
    parts = []
    for name, found in tables:
        if found is not None:
            lines = [(f"{row.name}, {name}", *row.cells) for row in found.rows]
            parts.append(markdown_table(("", *found.columns), lines))
    if not parts:
        return "## Results\n\nNothing was measured.\n"
    count = number(result.get("judged_answers"))
    few = f", of answers to {amount(count)} of the validation rows" if count else ""
    return f"## Results\n\nScores in points, 0 to 100{few}.\n\n" + "\n".join(parts)


def limits(result: Mapping[str, Any]) -> str:
    """What not to expect of it."""
    data = part(result, "data")
    length = number(data.get("max_length"))
    longest = (
        f"\n- It was trained on rows of at most {amount(length)} tokens, answer included; longer ones may give worse answers."
        if length
        else ""
    )
    return f"""## Limits

- What it writes may be wrong, however well it reads. Check it where that matters.
- The scores above count words or letters shared with a single reference, on texts like the training data.
- The best checkpoint was chosen on the validation rows, so their scores are slightly optimistic.
- It inherits the biases of its base model and of the data.{longest}
"""


CARD = CardParts(
    pipeline_tag=pipeline_of,
    kind=kind_of,
    metrics=metrics,
    opening=opening,
    usage=usage,
    results=results,
    limits=limits,
)
