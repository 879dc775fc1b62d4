"""What the cheapest texts score: the first sentence, the source, the commonest answer. A model must beat them to be worth it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from proxtune.data.examples import Pairs
from proxtune.tasks.generation.scoring.metrics import score_texts

_SENTENCE_END = re.compile(r"(?<=[.!?])\s|(?<=[。！？])|\n\s*\n")
_MOST_WORDS = 200  # of an answer that ROUGE-L is computed for: its table has a cell for each pair of words


def text_baselines(task: str, train: Pairs | None, validation: Pairs) -> dict[str, dict[str, Any]]:
    """The scores of `score_texts` for answers that take no model, by the baseline's name, on `validation`.

    summarize: `first_sentence` of what is asked. translate: `copy_source`. instruct: `commonest`, the answer that is the
    commonest in `train` (the first of equals; left out where there is no `train`), and `copy_prompt`, what the user said last.
    But for translate, answers end after 200 words. Raises as `score_texts`.
    """
    prompts = [turns[-1].content for turns in validation.prompts]
    if task == "summarize":
        answers = {"first_sentence": [_cut(first_sentence(text)) for text in prompts]}
    elif task == "translate":
        answers = {"copy_source": prompts}
    else:
        answers = {"copy_prompt": [_cut(text) for text in prompts]}
        if train is not None:
            commonest = Counter(train.answers).most_common(1)[0][0]
            answers = {"commonest": [_cut(commonest)] * len(prompts), **answers}
    return {name: {**score_texts(task, texts, validation.answers)} for name, texts in answers.items()}


def first_sentence(text: str) -> str:
    """The text up to its first full stop, exclamation or question mark before a space, or up to its first blank line."""
    return _SENTENCE_END.split(text.strip(), maxsplit=1)[0].strip()


def _cut(text: str) -> str:
    words = text.split(maxsplit=_MOST_WORDS)
    return text if len(words) <= _MOST_WORDS else " ".join(words[:_MOST_WORDS])
