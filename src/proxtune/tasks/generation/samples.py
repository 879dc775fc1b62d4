"""What a model answered before and after it learned, beside what answers without one would score. No torch here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from proxtune.data.examples import Pairs
from proxtune.storage.atomic import write_json
from proxtune.tasks.generation.baselines import text_baselines
from proxtune.tasks.generation.metrics import MAIN, each_text, score_texts

Record = dict[str, Any]
BASE_ANSWERS = "before.json"  # what the untouched model says of the judged rows
VALIDATION_ANSWERS = 64  # validation rows that answers are generated for, at most: each takes a pass for every token
_SHOWN, _SHOWN_WORST = 12, 8
_SHOWN_CHARACTERS = 1200


def compare_answers(task: str, train: Pairs | None, validation: Pairs, after: Record, before: Record | None) -> Record:
    """Scores of the answers, of the untouched model's and of the baselines', and some rows to look at, worst first.

    `after` and `before` hold `answers`, one for each row, and `metrics` of the tokens (loss, perplexity).
    """
    metrics = {**after["metrics"], **score_texts(task, after["answers"], validation.answers)}
    baselines: Record = {}
    if before is not None:
        baselines["untouched"] = {**before["metrics"], **score_texts(task, before["answers"], validation.answers)}
    baselines |= text_baselines(task, train, validation)
    each = each_text(task, after["answers"], validation.answers)
    order = sorted(range(len(validation)), key=each.__getitem__)
    evenly = sorted({round(i * (len(order) - 1) / max(1, _SHOWN - 1)) for i in range(_SHOWN)})

    def row(i: int) -> Record:
        prompt = validation.prompts[i][-1].content
        return {
            "line": validation.lines[i], "asked": prompt[:_SHOWN_CHARACTERS],
            "reference": validation.answers[i][:_SHOWN_CHARACTERS],
            "before": None if before is None else before["answers"][i][:_SHOWN_CHARACTERS],
            "after": after["answers"][i][:_SHOWN_CHARACTERS], "score": each[i],
        }  # fmt: skip

    return {
        "metrics": metrics, "baselines": baselines, "main": MAIN[task], "judged_answers": len(validation),
        "samples": [row(order[i]) for i in evenly], "worst": [row(i) for i in order[:_SHOWN_WORST]],
    }  # fmt: skip


def save_base_answers(folder: Path, found: Record) -> None:
    """Write down what the untouched model said. Raises OSError."""
    write_json(folder / BASE_ANSWERS, found)


def load_base_answers(folder: Path) -> Record | None:
    """What `save_base_answers` wrote; None where there is none that can be read."""
    try:
        found: Record = json.loads((folder / BASE_ANSWERS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if {"answers", "metrics", "seconds"} <= found.keys() else None


def base_answer_count(folder: Path) -> int:
    """How many rows the untouched model answered: as many are judged after it has learned."""
    found = load_base_answers(folder)
    return VALIDATION_ANSWERS if found is None else len(found["answers"])
