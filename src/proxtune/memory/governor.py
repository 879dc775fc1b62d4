"""The governor: hold a process to its memory, and turn a refused allocation into an answer instead of a death."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from proxtune.memory.compute_thread import ComputeThread
from proxtune.memory.devices.base import Meter
from proxtune.storage.events import StepDown

T = TypeVar("T")

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
    "can't start new thread",  # its stack is memory too
)
_NEAR_BYTES = 32_000_000  # of address space; a step's new kernels take less
_GAIN_BYTES = 16_000_000  # a limit is not set anew for less; more than a meter keeps back, or renewing would never end


def is_refusal(error: BaseException) -> bool:
    """Whether `error` means that memory was refused."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _REFUSALS)


@dataclass
class Governor:
    """Holds `memory_bytes`, of which `reserved_bytes` belong to others in the tree (the supervisor).

    State: the limit in force, the step-downs so far, and the thread that computes.
    """

    memory_bytes: int | None
    meter: Meter
    reserved_bytes: int = 0
    step_downs: list[StepDown] = field(default_factory=list)
    thread: ComputeThread = field(default_factory=ComputeThread)

    @property
    def room_bytes(self) -> int | None:
        """What this process alone may hold; None without a budget."""
        return None if self.memory_bytes is None else self.memory_bytes - self.reserved_bytes

    def hold(self) -> None:
        """From now on an allocation beyond the room is refused. Call it when the kernels' code is in memory."""
        if self.room_bytes is not None:
            self.thread.reserve()
            self.meter.limit(self.room_bytes)

    def hold_if_roomy(self) -> None:
        """`hold`, where the holes of the heap leave room under a limit; else none is set.

        Holes count as held, and after training they may be as large as the room: then all would be refused, though the holes
        can be filled. oneDNN does not survive each refusal, so what is predicted and measured is not held there.
        """
        self.hold()
        spare = self.meter.spare()
        if spare is not None and spare < 2 * _NEAR_BYTES:
            self.release()

    def release(self) -> None:
        """Lift the limit, for work whose memory another limit guards."""
        if self.room_bytes is not None:
            self.meter.limit(None)

    def renew(self) -> bool:
        """Set the limit anew where reserved address space, and not what is held, has come near it; whether that was so.

        Compiled kernels reserve more than they fill. Near the limit oneDNN falls back in silence on kernels many times slower,
        so this must come before a refusal. The holes of the heap count as held: they fill again without a word to the system.
        And where kernels have gone, others could fill what they had only reserved: then the limit is set lower.
        """
        room, spare = self.room_bytes, self.meter.spare()
        if room is None or spare is None:
            return False
        if self.meter.now() + spare > room:
            self.meter.limit(room)
            return False
        if spare >= _NEAR_BYTES:
            return False
        if room - self.meter.reach() - spare < _GAIN_BYTES:
            return False
        self.meter.limit(room)
        return True

    def is_crowded(self) -> bool:
        """Whether the process is within 1.5 % of its room: time to give back, and to take a smaller bite."""
        room = self.room_bytes
        return room is not None and self.meter.now() > 0.985 * room

    def record(self, before: str, after: str, why: str, at_step: int, seconds: float) -> StepDown:
        """Note a step-down; it goes into the event log, the result and the report."""
        event = StepDown(
            at_step=at_step,
            seconds=round(seconds, 2),
            before=before,
            after=after,
            why=why,
            memory_bytes=self.meter.now() + self.reserved_bytes,
        )
        self.step_downs.append(event)
        return event


def in_halves(
    pieces: Iterable[np.ndarray], compute: Callable[[np.ndarray], T], governor: Governor, too_much: str
) -> Iterator[tuple[np.ndarray, T]]:
    """(rows, `compute(rows)`) for each of `pieces`, arrays of row numbers, in their order; a piece that is refused in two halves.

    Raises MemoryError with the words `too_much` when one row is refused.
    """
    pending = list(pieces)[::-1]
    while pending:
        rows = pending.pop()
        governor.renew()
        try:
            found = governor.thread.run(partial(compute, rows))
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error):
                raise
            governor.thread.replace()
            if governor.renew():  # address space was refused, not memory: the same again
                pending.append(rows)
                continue
            if len(rows) == 1:
                raise MemoryError(too_much) from error
            governor.meter.trim()
            pending += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
            continue
        yield rows, found
