"""What a model answered before and after it learned, beside what answers without one would score. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.data.examples import Pairs
from proxtune.tasks.generation.scoring.baselines import text_baselines
from proxtune.tasks.generation.scoring.gain import gain
from proxtune.tasks.generation.scoring.metrics import MAIN, each_text, score_texts

_SHOWN, _SHOWN_WORST = 12, 8
_SHOWN_CHARACTERS = 1200


def compare_answers(
    task: str, train: Pairs | None, validation: Pairs, after: Mapping[str, Any], before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Scores of the answers, of the base model's and of the baselines', and some rows to look at, worst first.

    `after` and `before` hold `answers`, one for each row, and `metrics` of the tokens (loss, perplexity); where those of `after`
    are of more rows than were answered, `judged_metrics` too.
    """
    metrics = {
        **after.get("judged_metrics", after["metrics"]),
        **score_texts(task, after["answers"], validation.answers),
    }
    baselines: dict[str, dict[str, float]] = {}
    if before is not None:
        baselines["untouched"] = {**before["metrics"], **score_texts(task, before["answers"], validation.answers)}
    baselines |= text_baselines(task, train, validation)
    each = each_text(task, after["answers"], validation.answers)
    order = sorted(range(len(validation)), key=each.__getitem__)
    evenly = sorted({round(i * (len(order) - 1) / max(1, _SHOWN - 1)) for i in range(_SHOWN)})

    def row(i: int) -> dict[str, object]:
        prompt = validation.prompts[i][-1].content
        return {
            "line": validation.lines[i], "asked": prompt[:_SHOWN_CHARACTERS],
            "reference": validation.answers[i][:_SHOWN_CHARACTERS],
            "before": None if before is None else before["answers"][i][:_SHOWN_CHARACTERS],
            "after": after["answers"][i][:_SHOWN_CHARACTERS], "score": each[i],
        }  # fmt: skip

    gained = {}
    if before is not None:
        found = gain(task, after["answers"], before["answers"], validation.answers)
        gained = {"gain": {"words": str(found), "is_clear": found.is_clear}}
    return {
        "metrics": metrics, "baselines": baselines, "main": MAIN[task], "judged_answers": len(validation), **gained,
        "samples": [row(order[i]) for i in evenly], "worst": [row(i) for i in order[:_SHOWN_WORST]],
    }  # fmt: skip
