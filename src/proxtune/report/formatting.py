"""Numbers into words for the report and the model card; what is missing or not finite becomes a dash."""

from __future__ import annotations

import math
from typing import Any

from proxtune.config.budget import format_bytes, format_seconds

DASH = "–"


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


def shorten(text: Any, length: int) -> str:
    """`text` in one line of at most `length` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
