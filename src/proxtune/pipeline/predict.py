"""Use a trained model: predict or answer texts, or evaluate a file, in the memory budget of its run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.config.plan import plan_from_dict
from proxtune.config.recipe import Recipe
from proxtune.data.examples import Examples, Message, Pairs
from proxtune.errors import UserError
from proxtune.memory.allocator import set_allocator
from proxtune.memory.devices.base import device_and_meter
from proxtune.memory.governor import Governor
from proxtune.memory.lean_imports import import_lean
from proxtune.memory.library_pages import unload_cold_code
from proxtune.models.source import check_folder, find_model
from proxtune.storage.result import read_result
from proxtune.storage.run_folder import read_recipe
from proxtune.storage.safetensors_header import check_files
from proxtune.tasks.classification.reader import read_examples
from proxtune.tasks.loading import read_evaluation_rows, read_prompts

Record = dict[str, Any]
_MICRO_TOKENS = 2048


def predict(job: Record, emit: Callable[[Record], None]) -> Record:
    """Predict `job["texts"]`, or the rows of `job["file"]`; with `job["evaluate"]` score them against their labels."""
    folder = Path(job["folder"])
    recipe = read_recipe(folder / "recipe.toml")
    check_files(folder, ["model"])
    check_folder(folder / "model", f"the model of {folder}")
    if recipe.generates:
        return predict_generated(job, emit, recipe)
    examples = _examples(job, recipe)
    import_lean()
    unload_cold_code()
    set_allocator("fast")
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from proxtune.compression.packed_format import is_packed, load_packed
    from proxtune.models.loading import load_tokenizer
    from proxtune.runtime.inference import warm_up_forward, outputs_of
    from proxtune.tasks.base import length_allowed
    from proxtune.tasks.classification.encoding import encode
    from proxtune.tasks.classification.metrics import confusion
    from proxtune.tasks.classification.objective import probabilities, score

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
        warm_up_forward(model, data, config.pad_token_id, "fp32", governor)
    governor.hold()
    tokens = _MICRO_TOKENS if recipe.budget.memory is None else max(256, _MICRO_TOKENS // 2)
    logits = outputs_of(model, data, config.pad_token_id, "fp32", tokens, governor)
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
        return read_evaluation_rows(recipe, job["file"])
    if job.get("file") is None:
        texts = list(job["texts"])
        return Examples(texts, [], "the command line", list(range(1, len(texts) + 1)), "text", None)
    found = read_examples(job["file"], text_column=recipe.text_column, label_column=None, need_labels=False)
    if len(found) == 0:
        raise UserError(f"{job['file']} has no rows; give a file with texts")
    return Examples(found.texts, [], found.source, found.lines, found.text_column, None)


_ANSWERING_MICRO_TOKENS = 8192  # answers and what is asked, together
_FEW_TOKENS = 2
_WINDOW = 32  # rows that are answered together, before the next are: answers come in order


def predict_generated(job: Record, emit: Callable[[Record], None], recipe: Recipe) -> Record:
    """Answer `job["texts"]`, or the rows of `job["file"]`; with `job["evaluate"]` judge them by their own answers.

    `job["untouched"]` asks the model that the run began with instead.
    """
    folder = Path(job["folder"])
    result = read_result(folder)
    pairs = _read_prompts(job, recipe)
    import_lean()
    unload_cold_code()
    set_allocator("fast")

    from proxtune.data.dataset import select_rows
    from proxtune.models.loading import choose_attention, eos_token_ids, generator_config, load_generator, load_tokenizer
    from proxtune.runtime.inference import warm_up_forward, outputs_of
    from proxtune.tasks.base import length_allowed
    from proxtune.tasks.generation.decoding import GenerationSettings, AnswerStreamer, generate_answers
    from proxtune.tasks.generation.encoding import LONGEST, encode_pairs
    from proxtune.tasks.generation.objective import score
    from proxtune.tasks.generation.prompting import prompt_format_for

    path = find_model(recipe.model).folder if job.get("untouched") else folder / "model"
    tokenizer = load_tokenizer(path)
    device, meter = device_and_meter("cpu" if recipe.device == "cpu" else "auto")
    others = job["others_bytes"] if device.type == "cpu" else 0
    config = generator_config(path, tokenizer, 512)
    choose_attention(config, device.type)
    prompt_format = prompt_format_for(str(recipe.task), result["data"]["instruction"], tokenizer, config, eos_token_ids(path))
    data = encode_pairs(pairs, prompt_format, tokenizer, length_allowed(recipe, tokenizer, config, LONGEST))
    model = load_generator(path, config, plan_from_dict(result["plan"]).loaded_dtype if job.get("untouched") else "auto")
    settings = GenerationSettings(tokenizer, int(config.pad_token_id), prompt_format.stop_ids, result["data"]["new_tokens"])
    model.to(device)
    governor = Governor(recipe.budget.memory, meter, others)
    tokens = _ANSWERING_MICRO_TOKENS if recipe.budget.memory is None else _ANSWERING_MICRO_TOKENS // 4
    found: Record = {"rows": len(data), "truncated_rows": data.truncated}
    if job.get("evaluate"):
        warm_up_forward(model, data, settings.pad_id, "fp32", governor)
        governor.hold()
        found["metrics"] = score(outputs_of(model, data, settings.pad_id, "fp32", tokens, governor), data)
        answers = dict(generate_answers(model, data, settings, "fp32", tokens, governor))
        found["answers"] = [answers[row] for row in range(len(data))]
    else:
        # for the kernels' code to be in memory
        few = replace(settings, new_tokens=min(settings.new_tokens, _FEW_TOKENS))
        next(iter(generate_answers(model, select_rows(data, np.arange(1)), few, "fp32", tokens, governor)), None)
        governor.hold()
        streamer = AnswerStreamer(tokenizer, lambda text: emit({"kind": "piece", "text": text})) if len(data) == 1 else None
        for begin in range(0, len(data), _WINDOW):
            rows = np.arange(begin, min(begin + _WINDOW, len(data)))
            some = dict(generate_answers(model, select_rows(data, rows), settings, "fp32", tokens, governor, streamer))
            for row in rows:
                text = pairs.prompts[row][-1].content
                emit({"kind": "prediction", "text": text, "answer": some[int(row - begin)]})
    return found | {"memory_bytes": meter.peak() + others}


def _read_prompts(job: Record, recipe: Recipe) -> Pairs:
    if job.get("evaluate"):
        found: Pairs = read_evaluation_rows(recipe, job["file"])
        return found
    if job.get("file") is not None:
        found = read_prompts(recipe, job["file"])
        return Pairs(found.prompts, [], found.source, found.lines, found.columns)
    texts = list(job["texts"])
    return Pairs(
        [(Message("user", text),) for text in texts], [], "the command line", list(range(1, len(texts) + 1)), ()
    )
