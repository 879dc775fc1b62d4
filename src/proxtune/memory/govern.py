"""The governor: hold a process to its memory, and turn a refused allocation into an answer instead of a death."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field

from proxtune.budget import format_bytes
from proxtune.memory import measure

# What a refused allocation says, by who was refused. oneDNN reports it as a primitive that could not be made.
_REFUSALS = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "could not create a primitive",
    "could not execute a primitive",
    "could not create a memory",
    "bad_alloc",
    "failed to allocate",
)
_CODE_GROWTH_BYTES = 8_000_000  # library pages that later phases still touch; files, so RLIMIT_DATA does not see them


def is_refusal(error: BaseException) -> bool:
    """Whether `error` means that memory was refused."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _REFUSALS)


@dataclass
class Governor:
    """Holds `memory_bytes` for this process, of which `reserved_bytes` belong to others in the tree (the supervisor).

    State: the limit in force, what was seen, and the step-downs so far.
    """

    memory_bytes: int | None
    reserved_bytes: int = 0
    step_downs: list[dict[str, object]] = field(default_factory=list)

    @property
    def room_bytes(self) -> int | None:
        """What this process alone may hold; None without a budget."""
        return None if self.memory_bytes is None else self.memory_bytes - self.reserved_bytes

    def hold(self) -> None:
        """Set the system's own limit, relative to what is reserved now (imports reserve far more than they hold).

        Call it after a first small step, when the kernels' code is in. Address space never grows by less than what becomes
        resident, so from here on resident ≤ resident now + (data − data now) + file pages still to come. The last are
        weights read for the first time: predicted, and watched by `is_crowded`.
        """
        room, data = self.room_bytes, measure.data_bytes()
        if room is None or data is None:
            return
        spare = room - measure.resident_bytes() - _CODE_GROWTH_BYTES
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = data + max(spare, 0)
        resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))

    def release(self) -> None:
        """Lift the system's limit, for work whose memory another limit guards."""
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))

    def is_crowded(self) -> bool:
        """Whether the process is within 1.5 % of its room: time to give back, and to take a smaller bite."""
        room = self.room_bytes
        return room is not None and measure.resident_bytes() > 0.985 * room

    def record(self, before: str, after: str, why: str, at_step: int, seconds: float) -> dict[str, object]:
        """Note a step-down; the record goes into the journal, the result and the report."""
        entry: dict[str, object] = {
            "kind": "step_down",
            "at_step": at_step,
            "seconds": round(seconds, 2),
            "from": before,
            "to": after,
            "why": why,
            "memory_bytes": measure.resident_bytes() + self.reserved_bytes,
        }
        self.step_downs.append(entry)
        return entry

    def describe(self) -> str:
        """'680 MB of 700 MB' for progress lines."""
        now = measure.resident_bytes() + self.reserved_bytes
        return format_bytes(now) + (f" of {format_bytes(self.memory_bytes)}" if self.memory_bytes else "")
