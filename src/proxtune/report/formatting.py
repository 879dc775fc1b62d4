"""Numbers into words for the report and the model card; what is missing or not finite becomes a dash."""

from __future__ import annotations

import math
from typing import Any

from proxtune.config.budget import format_bytes, format_seconds
from proxtune.config.recipe import GENERATIVE
from proxtune.storage.result import BASELINE_WORDS
from proxtune.tasks.generation.metrics import NAMES, in_points

DASH = "–"
BASELINES = {"majority": "always the commonest label", "tfidf": "word counts (TF-IDF)", **BASELINE_WORDS}


def number(value: Any) -> float | None:
    """`value` when it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def part(mapping: Any, key: str) -> dict[str, Any]:
    """The dict under `key`, empty when there is none."""
    value = mapping.get(key) if isinstance(mapping, dict) else None
    return value if isinstance(value, dict) else {}


def rows(mapping: Any, key: str) -> list[Any]:
    """The list under `key`, empty when there is none."""
    value = mapping.get(key) if isinstance(mapping, dict) else None
    return value if isinstance(value, list) else []


def percent(value: Any) -> str:
    """0.8612 → '86.1 %'."""
    known = number(value)
    return DASH if known is None else f"{known * 100:.1f} %"


def amount(value: Any) -> str:
    """12345 → '12,345'; 0.35 → '0.35'."""
    known = number(value)
    if known is None:
        return DASH
    return f"{known:,.0f}" if float(known).is_integer() else f"{known:.4g}"


def size(value: Any) -> str:
    """Bytes, or a dash."""
    known = number(value)
    return DASH if known is None else format_bytes(known)


def duration(value: Any) -> str:
    """Seconds, or a dash."""
    known = number(value)
    return DASH if known is None else format_seconds(known)


def operations(value: Any) -> str:
    """1.2e15 → '1.2 PFLOP'."""
    known = number(value)
    if known is None:
        return DASH
    for unit, scale in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6)):
        if known >= scale:
            return f"{known / scale:.3g} {unit}"
    return f"{known:.3g} FLOP"


def error_percent(promised: Any, measured: Any) -> str:
    """How far the promise lay above (+) or below (−) what was measured, as a share of what was measured."""
    expected, seen = number(promised), number(measured)
    if expected is None or not seen:
        return DASH
    share = round((expected - seen) / seen * 100, 1)
    return "0.0 %" if share == 0 else f"{'+' if share > 0 else '−'}{abs(share):.1f} %"


def half_width(accuracy: float, count: float) -> float:
    """Half of the 95 % interval of an accuracy seen on `count` rows (Wilson, so it is not zero at 0 and 1)."""
    z = 1.96
    return z / (1 + z * z / count) * math.sqrt(accuracy * (1 - accuracy) / count + z * z / (4 * count * count))


def shorten(text: Any, length: int) -> str:
    """`text` in one line of at most `length` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def generates(result: dict[str, Any]) -> bool:
    """Whether the run's model writes texts; else it tells classes apart."""
    return result.get("task") in GENERATIVE


def main_of(found: dict[str, Any]) -> str:
    """The name of the score that a run, or an evaluation of one, is judged by."""
    main = found.get("main_metric", found.get("main"))
    return main if isinstance(main, str) and main in NAMES else "accuracy"


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


def best_baseline(result: dict[str, Any]) -> tuple[str, float] | None:
    """The name and the main score of the strongest baseline that has one."""
    main = main_of(result)
    found = [
        (value, name)
        for name, row in part(result, "baselines").items()
        if isinstance(row, dict) and (value := number(row.get(main))) is not None
    ]
    return (max(found)[1], max(found)[0]) if found else None


def beats_baselines(result: dict[str, Any]) -> bool | None:
    """Whether the model won; None when that cannot be said."""
    if isinstance(result.get("beats_baselines"), bool):
        return bool(result["beats_baselines"])
    best, own = best_baseline(result), number(part(result, "metrics").get(main_of(result)))
    return None if best is None or own is None else own > best[1]
