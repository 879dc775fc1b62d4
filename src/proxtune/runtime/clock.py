"""The time budget: one clock from the user's command to the saved result, across the processes of a run."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """`started` is a reading of the system-wide monotonic clock; `limit_seconds` the budget, if there is one."""

    started: float
    limit_seconds: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the command."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        """Seconds until the budget ends; infinite without one."""
        return float("inf") if self.limit_seconds is None else self.limit_seconds - self.elapsed
