"""Where the time of a run went, by its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any


def seconds_by_phase(records: Iterable[Mapping[str, Any]], until_seconds: float) -> dict[str, float]:
    """Seconds of each phase of a run, in the order in which they began; what came before the first counts as part of it.

    Parameters
    ----------
    records
        The run's events; only the phases matter. One without a name or a time is passed over.
    until_seconds
        When the last phase ended, in seconds after the command.

    Examples
    --------
    >>> begun = [{"kind": "phase", "phase": name, "seconds": at} for name, at in (("read", 0.4), ("train", 3), ("save", 9))]
    >>> seconds_by_phase(begun, 10)
    {'read': 3.0, 'train': 6.0, 'save': 1.0}
    """
    found: dict[str, float] = {}
    phase, since = "", 0.0
    for record in records:
        name, at = record.get("phase"), record.get("seconds")
        if record.get("kind") != "phase" or not isinstance(name, str):
            continue
        if not isinstance(at, int | float) or not isfinite(at):
            continue
        if phase:
            found[phase] = found.get(phase, 0.0) + max(0.0, at - since)
            since = at
        phase = name
    if phase:
        found[phase] = found.get(phase, 0.0) + max(0.0, until_seconds - since)
    return {name: round(seconds, 2) for name, seconds in found.items()}
