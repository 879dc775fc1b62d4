"""The scores of a run in words: which one counts, what each is called, and whether the model beats the baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxtune.report.formatting import DASH, number, part, shorten
from proxtune.storage.result import BASELINE_WORDS
from proxtune.tasks.generation.scoring.metrics import NAMES, in_points

BASELINES = {"majority": "always the most common label", "tfidf": "word counts (TF-IDF)", **BASELINE_WORDS}
_OF_TOKENS = ("loss", "perplexity")  # of the references, on all validation rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One line of a table of scores; `width` is that of its bar in percent, and `own` marks the trained model."""

    name: str
    own: bool
    width: float
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """Scores of the model beside those of its baselines; `main` names the score that counts, first of the `columns`."""

    main: str
    columns: tuple[str, ...]
    rows: tuple[ScoreRow, ...]


def baseline_name(name: str) -> str:
    """What a baseline is called."""
    return BASELINES.get(name, shorten(name, 40))


def main_of(found: Mapping[str, Any]) -> str:
    """The name of the score by which a run, or an evaluation of one, is compared."""
    main = found.get("main_metric", found.get("main"))
    return main if isinstance(main, str) and main in NAMES else "accuracy"


def score_name(key: str) -> str:
    """What a score is called."""
    return NAMES.get(key, key)


def score_words(name: str, value: Any) -> str:
    """A score of texts in points, their loss or perplexity: 0.3421 of ROUGE → '34.2'."""
    known = number(value)
    if known is None:
        return DASH
    if name in NAMES:
        return f"{in_points(name, known):.1f}"
    if abs(known) >= 1000:
        return f"{known:.3g}"
    return f"{known:.1f}" if name == "perplexity" else f"{known:.3f}"


def score_table(found: Mapping[str, Any]) -> ScoreTable | None:
    """Scores of generated text: the model's, the base model's, the baselines'. `found` is a result or an evaluation."""
    main = main_of(found)
    baselines = {name: row for name, row in part(found, "baselines").items() if isinstance(row, dict)}
    table = [("this model", part(found, "metrics"), True)]
    table += [(baseline_name(name), row, False) for name, row in baselines.items()]
    table = [(name, row, own) for name, row, own in table if row]
    if not table:
        return None
    seen = {key for _, row, _ in table for key in row}
    columns = [main, *(key for key in (*NAMES, *_OF_TOKENS) if key != main and key in seen)]
    best = max((in_points(main, value) for _, row, _ in table if (value := number(row.get(main)))), default=0.0)
    return ScoreTable(
        main=score_name(main),
        columns=tuple(score_name(key) for key in columns),
        rows=tuple(
            ScoreRow(
                name=name,
                own=own,
                width=round(100 * in_points(main, number(row.get(main)) or 0) / max(best, 1e-9), 2),
                cells=tuple(score_words(key, row.get(key)) for key in columns),
            )
            for name, row, own in table
        ),
    )


def best_baseline(found: Mapping[str, Any]) -> tuple[str, float] | None:
    """The name and the main score of the strongest baseline that has one."""
    main = main_of(found)
    known = [
        (value, name)
        for name, row in part(found, "baselines").items()
        if isinstance(row, dict) and (value := number(row.get(main))) is not None
    ]
    return (max(known)[1], max(known)[0]) if known else None


def beats_baselines(result: Mapping[str, Any]) -> bool | None:
    """Whether the model won; None when that cannot be said."""
    if isinstance(result.get("beats_baselines"), bool):
        return bool(result["beats_baselines"])
    best, own = best_baseline(result), number(part(result, "metrics").get(main_of(result)))
    return None if best is None or own is None else own > best[1]


def half_width(accuracy: float, count: float) -> float:
    """Half of the 95 % interval of an accuracy measured on `count` rows (Wilson, so it is not zero at 0 and 1)."""
    z = 1.96
    return z / (1 + z * z / count) * math.sqrt(accuracy * (1 - accuracy) / count + z * z / (4 * count * count))
