"""The budget: what a user has, in bytes, seconds, parameters and operations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from proxtune.errors import UserError

_BYTES = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", start=1):
    _BYTES[f"{_letter}B"] = 1000**_power
    _BYTES[f"{_letter}IB"] = 1024**_power
_SECONDS = {"": 1, "S": 1, "SEC": 1, "MS": 0.001, "M": 60, "MIN": 60, "H": 3600, "HOUR": 3600, "D": 86400}
_COUNTS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9}
_FLOP = {"": 1, "FLOP": 1, "MFLOP": 1e6, "GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15, "EFLOP": 1e18}

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z]*)\s*\Z")


def _quantity(text: str | float, units: Mapping[str, float], name: str, example: str) -> float:
    match = _QUANTITY.match(str(text))
    if match is None:
        raise UserError(f"--{name} {text!r} is not an amount; write it like {example}")
    unit = match[2].upper()
    if unit not in units:
        known = ", ".join(u for u in units if u)
        raise UserError(f"--{name} {text!r} has an unknown unit {match[2]!r}; write it like {example} (units: {known})")
    value = float(match[1]) * units[unit]
    if value <= 0:
        raise UserError(f"--{name} {text!r} must be more than zero; write it like {example}")
    if value == float("inf"):
        raise UserError(f"--{name} {text!r} is too large; write it like {example}")
    return value


def parse_bytes(text: str | int, name: str = "memory") -> int:
    """'700MB' → 700_000_000; GB = 10⁹ and GiB = 2³⁰. Raises UserError."""
    return max(1, round(_quantity(text, _BYTES, name, "700MB or 1.5GiB")))


def parse_seconds(text: str | float, name: str = "time") -> float:
    """'8min' → 480.0. Raises UserError."""
    return _quantity(text, _SECONDS, name, "90s, 10min or 2h")


def parse_count(text: str | int, name: str = "trainable") -> int:
    """'1M' → 1_000_000. Raises UserError."""
    return max(1, round(_quantity(text, _COUNTS, name, "500k or 1M")))


def parse_flop(text: str | float, name: str = "compute") -> float:
    """'2PFLOP' → 2e15. Raises UserError."""
    return _quantity(text, _FLOP, name, "2PFLOP")


def format_bytes(count: float) -> str:
    """700_000_000 → '700 MB', in powers of ten as budgets are written."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if abs(count) >= size:
            scaled = count / size
            return f"{scaled:.2f} {unit}" if scaled < 10 and unit == "GB" else f"{scaled:.0f} {unit}"
    return f"{count:.0f} B"


def format_seconds(seconds: float) -> str:
    """495 → '8 min 15 s'."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


_PARSERS: dict[str, Callable[[Any, str], float]] = {
    "memory": parse_bytes,
    "size": parse_bytes,
    "trainable": parse_count,
    "time": parse_seconds,
    "compute": parse_flop,
}


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may use. Each part is optional, and a limit in every phase.

    Parameters
    ----------
    memory
        Bytes of memory of all processes of the run together, or text such as "1GB" (10⁹ bytes) or "1GiB" (2³⁰).
    size
        Bytes of the saved model, or text such as "10MB".
    trainable
        Number of trained parameters, or text such as "500k".
    time
        Seconds from the command to the saved result, or text such as "10min".
    compute
        Floating-point operations, or text such as "2T".

    Raises
    ------
    UserError
        If an amount cannot be read, or is not more than zero.

    Examples
    --------
    >>> from proxtune import Budget
    >>> budget = Budget(memory="1.5GB", time="10min")
    >>> budget.memory, budget.time
    (1500000000, 600.0)
    """

    memory: int | None = None
    size: int | None = None
    trainable: int | None = None
    time: float | None = None
    compute: float | None = None

    def __init__(
        self,
        memory: str | int | None = None,
        size: str | int | None = None,
        trainable: str | int | None = None,
        time: str | float | None = None,
        compute: str | float | None = None,
    ) -> None:
        given = {"memory": memory, "size": size, "trainable": trainable, "time": time, "compute": compute}
        for name, value in given.items():
            object.__setattr__(self, name, None if value is None else _PARSERS[name](value, name))

    def with_memory(self, memory: int) -> Budget:
        """The same budget with another memory."""
        return Budget(memory=memory, size=self.size, trainable=self.trainable, time=self.time, compute=self.compute)

    def as_dict(self) -> dict[str, float | None]:
        """The parts by name, ready for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
