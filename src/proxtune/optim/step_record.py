"""The record of a step: what NNO wrote into the weights, in 40 bytes and 4 for each neighbour; enough to do it again."""

from __future__ import annotations

import ctypes
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_HEAD = struct.Struct("<IQQffHHf")  # step, seed, batch, spread, rate, neighbours, rule, loss at the centre
_CHECK = struct.Struct("<I")
RULES = ("rejected", "stayed", "taken back", "estimate", "greedy", "nearest")
MOVING = ("estimate", "greedy", "nearest")


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A step: its name (step, seed, batch), the loss at θ and at each neighbour, ε and η, and the rule that moved θ.

    All numbers are as they are kept, in float32. `rule` says what was done: θ moved by "estimate", "greedy" or "nearest";
    it "stayed" where no neighbour was better; the last step was "taken back"; or a loss was not finite and the step
    "rejected". `batch` is a number that the caller gives, to know the rows by.
    """

    step: int
    seed: int
    batch: int
    spread: float
    rate: float
    rule: str
    centre: float
    losses: tuple[float, ...]

    def pack(self) -> bytes:
        """40 + 4·K bytes, a checksum among them."""
        count = len(self.losses)
        head = _HEAD.pack(
            self.step, self.seed, self.batch, self.spread, self.rate, count, RULES.index(self.rule), self.centre
        )
        body = head + struct.pack(f"<{count}f", *self.losses)
        return body + _CHECK.pack(zlib.crc32(body))


def unpack(data: bytes) -> Iterator[StepRecord]:
    """The records in `data`, one after another. Raises ValueError with the place of one that is torn or damaged."""
    place = 0
    while place < len(data):
        if len(data) < place + _HEAD.size:
            raise ValueError(f"the record at byte {place} is torn")
        step, seed, batch, spread, rate, count, rule, centre = _HEAD.unpack_from(data, place)
        end = place + _HEAD.size + 4 * count
        if len(data) < end + _CHECK.size:
            raise ValueError(f"the record at byte {place} is torn")
        if _CHECK.unpack_from(data, end)[0] != zlib.crc32(data[place:end]) or rule >= len(RULES):
            raise ValueError(f"the record at byte {place} is damaged")
        losses = struct.unpack_from(f"<{count}f", data, place + _HEAD.size)
        yield StepRecord(
            step=step, seed=seed, batch=batch, spread=spread, rate=rate, rule=RULES[rule], centre=centre, losses=losses
        )
        place = end + _CHECK.size


def as_float32(numbers: Iterable[float]) -> list[float]:
    """The numbers as a record keeps them, rounded to float32 (infinite beyond it): a replay computes with the very same."""
    return [ctypes.c_float(number).value for number in numbers]
