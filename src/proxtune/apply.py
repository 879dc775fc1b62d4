"""Use a trained model: predict texts or evaluate a file, in the memory budget of its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from proxtune.data import read_examples
from proxtune.errors import PersonError
from proxtune.examples import Examples
from proxtune.headers import check_files
from proxtune.memory.allocator import set_allocator
from proxtune.memory.code import unload_cold_code
from proxtune.memory.govern import Governor
from proxtune.memory.lean import import_lean
from proxtune.memory.meter import device_and_meter
from proxtune.models import check_folder
from proxtune.recipe import Recipe, read_recipe
from proxtune.rows import read_asked

Record = dict[str, Any]
_MICRO_TOKENS = 2048


def apply(job: Record, emit: Callable[[Record], None]) -> Record:
    """Predict `job["texts"]`, or the rows of `job["file"]`; with `job["evaluate"]` score them against their labels."""
    folder = Path(job["folder"])
    recipe = read_recipe(folder / "recipe.toml")
    check_files(folder, ["model"])
    check_folder(folder / "model", f"the model of {folder}")
    if recipe.generates:
        from proxtune.apply_generator import apply_generator

        return apply_generator(job, emit, recipe)
    examples = _examples(job, recipe)
    import_lean()
    unload_cold_code()
    set_allocator("fast")
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from proxtune.evaluate import first_look, said_of
    from proxtune.models import load_tokenizer
    from proxtune.objectives.labels import probabilities, score
    from proxtune.packed import is_packed, load_packed
    from proxtune.scores import confusion
    from proxtune.task import length_allowed
    from proxtune.tasks.classify import encode

    path = folder / "model"
    model = load_packed(path, "eager") if is_packed(path) else None
    config = AutoConfig.from_pretrained(str(path)) if model is None else model.config
    tokenizer = load_tokenizer(path)
    labels = [config.id2label.get(i, str(i)) for i in range(config.num_labels)]
    data = encode(examples, labels, tokenizer, length_allowed(recipe, tokenizer, config))
    if model is None:
        model = AutoModelForSequenceClassification.from_pretrained(
            str(path), use_safetensors=True, attn_implementation="eager"
        )
    device, meter = device_and_meter("cpu" if recipe.device == "cpu" or is_packed(path) else "auto")
    others = job["others_bytes"] if device.type == "cpu" else 0
    model.to(device)
    governor = Governor(recipe.budget.memory, meter, others)
    if len(data):
        first_look(model, data, config.pad_token_id, "fp32", governor)
    governor.hold()
    tokens = _MICRO_TOKENS if recipe.budget.memory is None else max(256, _MICRO_TOKENS // 2)
    logits = said_of(model, data, config.pad_token_id, "fp32", tokens, governor)
    peak = {"memory_bytes": meter.peak() + others, "truncated_rows": data.truncated, "rows": len(data)}
    if job.get("evaluate"):
        chosen = logits.argmax(axis=1).tolist()
        found = score(logits, data)
        return {
            "metrics": found,
            "confusion": confusion(data.labels.tolist(), chosen, len(labels)),
            "labels": labels,
            **peak,
        }
    chances = probabilities(logits) if len(data) else logits
    for text, row in zip(examples.texts, chances, strict=True):
        best = int(row.argmax())
        emit({"kind": "prediction", "text": text, "label": labels[best], "probabilities": [float(p) for p in row]})
    return {"labels": labels, **peak}


def _examples(job: Record, recipe: Recipe) -> Examples:
    if job.get("evaluate"):
        return read_asked(recipe, job["file"])
    if job.get("file") is None:
        texts = list(job["texts"])
        return Examples(texts, [], "the command line", list(range(1, len(texts) + 1)), "text", None)
    found = read_examples(job["file"], text_column=recipe.text_column, label_column=None, need_labels=False)
    if len(found) == 0:
        raise PersonError(f"{job['file']} has no rows; give a file with texts")
    return Examples(found.texts, [], found.source, found.lines, found.text_column, None)
