"""How good generated texts are: ROUGE, BLEU, chrF and exact matches, by rouge-score and sacrebleu."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from proxtune.errors import UserError
from proxtune.tasks.generation.scoring.rouge import import_rouge

# as people call them, those that matter most first
NAMES = {
    "rougeL": "ROUGE-L", "chrf": "chrF", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "bleu": "BLEU", "exact": "exact",
}  # fmt: skip
MAIN = {"summarize": "rougeL", "translate": "chrf", "instruct": "rougeL"}  # what a run is evaluated by
_ROUGE = ("rouge1", "rouge2", "rougeL")
_LIBRARIES = {
    "summarize": ("rouge_score", "nltk"),
    "translate": ("sacrebleu",),
    "instruct": ("rouge_score", "nltk"),
}


def require_scores(task: str) -> None:
    """Raises UserError where the libraries that score `task` are not installed. Imports nothing."""
    if any(importlib.util.find_spec(name) is None for name in _LIBRARIES[task]):
        raise _missing(task)


def in_points(name: str, value: float) -> float:
    """A score as people give it, 0 to 100: shares times 100; BLEU and chrF are so already."""
    return value if name in ("bleu", "chrf") else 100 * value


def score_texts(task: str, answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """The scores of `answers` against what they should be, one reference each.

    summarize: `rouge1`, `rouge2`, `rougeL`, the mean over the rows of the F-measure, 0 to 1, words stemmed (Lin, ROUGE: A
    Package for Automatic Evaluation of Summaries, 2004). translate: `bleu` (Papineni et al., 2002) and `chrf` (Popović,
    2015) of all rows together, 0 to 100, as sacrebleu computes them by default. instruct: ROUGE, and `exact`, the share that
    are the same but for spaces around them. Raises ValueError for no rows or different lengths, UserError for lack of a
    library.
    """
    _check(answers, references)
    if task == "translate":
        metrics = _sacrebleu()
        return {
            name: float(metric.corpus_score(list(answers), [list(references)]).score)
            for name, metric in (("bleu", metrics.BLEU()), ("chrf", metrics.CHRF()))
        }
    rows = _rouge_rows(task, answers, references, _ROUGE)
    scores = {name: sum(row[name] for row in rows) / len(rows) for name in _ROUGE}
    if task == "instruct":
        same = sum(answer.strip() == wanted.strip() for answer, wanted in zip(answers, references, strict=True))
        scores["exact"] = same / len(answers)
    return scores


def each_text(task: str, answers: Sequence[str], references: Sequence[str]) -> list[float]:
    """One number a row, the higher the better: ROUGE-L, 0 to 1, or for translate the sentence's chrF, 0 to 100.

    Raises as `score_texts`.
    """
    _check(answers, references)
    if task == "translate":
        chrf = _sacrebleu().CHRF()
        pairs = zip(answers, references, strict=True)
        return [float(chrf.sentence_score(answer, [wanted]).score) for answer, wanted in pairs]
    return [row["rougeL"] for row in _rouge_rows(task, answers, references, ("rougeL",))]


def _rouge_rows(
    task: str, answers: Sequence[str], references: Sequence[str], names: tuple[str, ...]
) -> list[dict[str, float]]:
    try:
        scorer = import_rouge().RougeScorer(list(names), use_stemmer=True)
    except ImportError:
        raise _missing(task) from None
    rows = (scorer.score(wanted, answer) for answer, wanted in zip(answers, references, strict=True))
    return [{name: float(score.fmeasure) for name, score in row.items()} for row in rows]


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError:
        raise _missing("translate") from None
    return metrics


def _missing(task: str) -> UserError:
    name = _LIBRARIES[task][0].replace("_", "-")
    return UserError(f"scoring {task} needs {name}; run `pip install 'proxtune[text]'`")


def _check(answers: Sequence[str], references: Sequence[str]) -> None:
    if len(answers) != len(references):
        raise ValueError(f"{len(answers)} answers but {len(references)} references")
    if not len(answers):
        raise ValueError("no answers to score")
