"""Peak of memory by phase of a run."""

from __future__ import annotations

from proxtune.memory.devices.base import Meter


class Phases:
    """Peak by phase of a run, in bytes of the whole tree. A phase entered twice keeps its largest peak."""

    def __init__(self, meter: Meter, others_bytes: int) -> None:
        self.meter = meter
        self.others_bytes = others_bytes
        self.memory_bytes: dict[str, int] = {}
        self._current: str | None = None

    def enter(self, phase: str) -> None:
        """End the phase under way and begin another; free memory goes back in between."""
        self.leave()
        self._current = phase
        self.meter.reset()

    def leave(self) -> None:
        """End the phase under way."""
        if self._current is not None:
            peak = self.meter.peak() + self.others_bytes
            self.memory_bytes[self._current] = max(peak, self.memory_bytes.get(self._current, 0))
            self._current = None
            self.meter.trim()
