"""Use a trained model that generates: answer texts or the rows of a file, or evaluate it on one, in its run's memory budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.examples import Message, Pairs
from proxtune.memory.allocator import set_allocator
from proxtune.memory.code import unload_cold_code
from proxtune.memory.govern import Governor
from proxtune.memory.lean import import_lean
from proxtune.memory.meter import device_and_meter
from proxtune.models import find_model
from proxtune.plan import plan_from_dict
from proxtune.recipe import Recipe
from proxtune.result import read_result
from proxtune.rows import read_asked, read_questions

Record = dict[str, Any]
_MICRO_TOKENS = 8192  # answers and what is asked, together
_FEW_TOKENS = 2
_WINDOW = 32  # rows that are answered together, before the next are: answers come in order


def apply_generator(job: Record, emit: Callable[[Record], None], recipe: Recipe) -> Record:
    """Answer `job["texts"]`, or the rows of `job["file"]`; with `job["evaluate"]` judge them by their own answers.

    `job["untouched"]` asks the model that the run began with instead.
    """
    folder = Path(job["folder"])
    said = read_result(folder)
    pairs = _asked(job, recipe)
    import_lean()
    unload_cold_code()
    set_allocator("fast")

    from proxtune.evaluate import first_look, said_of
    from proxtune.generate import Answering, Pieces, answers_of
    from proxtune.models import attend_on, ends_of_text, generator_config, load_generator, load_tokenizer
    from proxtune.objectives.answers import score
    from proxtune.task import length_allowed
    from proxtune.tasks.classify import take
    from proxtune.tasks.generate import LONGEST, asking_of, encode_pairs

    path = find_model(recipe.model).folder if job.get("untouched") else folder / "model"
    tokenizer = load_tokenizer(path)
    device, meter = device_and_meter("cpu" if recipe.device == "cpu" else "auto")
    others = job["others_bytes"] if device.type == "cpu" else 0
    config = generator_config(path, tokenizer, 512)
    attend_on(config, device.type)
    asking = asking_of(str(recipe.task), said["data"]["instruction"], tokenizer, config, ends_of_text(path))
    data = encode_pairs(pairs, asking, tokenizer, length_allowed(recipe, tokenizer, config, LONGEST))
    model = load_generator(path, config, plan_from_dict(said["plan"]).loaded_dtype if job.get("untouched") else "auto")
    how = Answering(tokenizer, int(config.pad_token_id), asking.stops, said["data"]["new_tokens"])
    model.to(device)
    governor = Governor(recipe.budget.memory, meter, others)
    tokens = _MICRO_TOKENS if recipe.budget.memory is None else _MICRO_TOKENS // 4
    found: Record = {"rows": len(data), "truncated_rows": data.truncated}
    if job.get("evaluate"):
        first_look(model, data, how.pad_id, "fp32", governor)
        governor.hold()
        found["metrics"] = score(said_of(model, data, how.pad_id, "fp32", tokens, governor), data)
        answers = dict(answers_of(model, data, how, "fp32", tokens, governor))
        found["answers"] = [answers[row] for row in range(len(data))]
    else:
        few = replace(how, new_tokens=min(how.new_tokens, _FEW_TOKENS))  # for the kernels' code to be in memory
        next(iter(answers_of(model, take(data, np.arange(1)), few, "fp32", tokens, governor)), None)
        governor.hold()
        pieces = Pieces(tokenizer, lambda text: emit({"kind": "piece", "text": text})) if len(data) == 1 else None
        for begin in range(0, len(data), _WINDOW):
            rows = np.arange(begin, min(begin + _WINDOW, len(data)))
            some = dict(answers_of(model, take(data, rows), how, "fp32", tokens, governor, pieces))
            for row in rows:
                text = pairs.asked[row][-1].content
                emit({"kind": "prediction", "text": text, "answer": some[int(row - begin)]})
    return found | {"memory_bytes": meter.peak() + others}


def _asked(job: Record, recipe: Recipe) -> Pairs:
    if job.get("evaluate"):
        found: Pairs = read_asked(recipe, job["file"])
        return found
    if job.get("file") is not None:
        found = read_questions(recipe, job["file"])
        return Pairs(found.asked, [], found.source, found.lines, found.columns)
    texts = list(job["texts"])
    return Pairs(
        [(Message("user", text),) for text in texts], [], "the command line", list(range(1, len(texts) + 1)), ()
    )
