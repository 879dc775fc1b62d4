"""The governor: what counts as a refusal, and a limit that is set anew."""

from typing import ClassVar

import pytest

from proxtune.memory.devices import cpu
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor, is_refusal

REFUSALS = [
    MemoryError(),
    RuntimeError("could not create a primitive"),
    RuntimeError("could not create a primitive descriptor for a matmul primitive"),
    RuntimeError("could not execute a primitive"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: 12 (Cannot)"
    ),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("can't start new thread"),
    type("OutOfMemoryError", (RuntimeError,), {})("the device is full"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"),
    RuntimeError("element 0 of tensors does not require grad"),
    ValueError("out of memory"),
    KeyboardInterrupt(),
    OSError("No space left on device"),
]


@pytest.mark.parametrize("error", REFUSALS, ids=repr)
def test_a_refusal_is_known_by_its_words(error):
    assert is_refusal(error)


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_errors_are_not_taken_for_refusals(error):
    assert not is_refusal(error)


def test_without_a_budget_the_governor_holds_nothing():
    governor = Governor(None, ProcessMeter())
    governor.hold()
    assert governor.room_bytes is None
    assert not governor.is_crowded()


def test_the_governor_keeps_its_record():
    governor = Governor(10**12, ProcessMeter(), 5)
    entry = governor.record("micro-batch 8", "micro-batch 4", "refused", 3, 1.234)
    assert governor.step_downs == [entry]
    assert (entry.kind, entry.at_step, entry.seconds) == ("step_down", 3, 1.23)
    assert governor.room_bytes == 10**12 - 5


@pytest.mark.parametrize(
    ("spare", "now", "renewed"),
    [(None, 0, False), (40_000_000, 0, False), (10_000_000, 100_000_000, True), (10_000_000, 960_000_000, False)],
)
def test_the_limit_is_set_anew_when_address_space_runs_out_before_memory_does(spare, now, renewed):
    class Stated(ProcessMeter):
        limits: ClassVar[list[int | None]] = []

        def now(self) -> int:
            return now

        def reach(self) -> int:
            return now + 50_000_000

        def spare(self) -> int | None:
            return spare

        def limit(self, room_bytes: int | None) -> None:
            self.limits.append(room_bytes)

    meter = Stated()
    meter.limits.clear()
    assert Governor(1_000_000_000, meter).renew() is renewed
    assert meter.limits == ([1_000_000_000] if renewed else [])


@pytest.mark.parametrize(("left", "lowered"), [(300_000_000, False), (301_000_000, True), (2_000_000_000, True)])
def test_the_limit_is_lowered_where_what_was_only_reserved_has_gone(left, lowered):
    """Others could fill it."""

    class Stated(ProcessMeter):
        spare_bytes = left

        def now(self) -> int:
            return 700_000_000

        def reach(self) -> int:
            return 710_000_000

        def spare(self) -> int:
            return self.spare_bytes

        def limit(self, room_bytes: int | None) -> None:
            assert room_bytes is not None
            self.spare_bytes = room_bytes - self.reach()

    meter = Stated()
    assert Governor(1_000_000_000, meter).renew() is False
    assert meter.spare_bytes == (290_000_000 if lowered else left)


@pytest.mark.parametrize("free", range(0, 120_000_000, 3_000_000))
def test_renewing_a_limit_that_was_just_set_changes_nothing(free):
    """What is refused then is refused: a caller that tries again after each renewal must come to an end."""

    class Kept(ProcessMeter):
        left = 1_000_000

        def now(self) -> int:
            return 900_000_000 - free

        reach = now

        def spare(self) -> int:
            return self.left

        def limit(self, room_bytes: int | None) -> None:
            assert room_bytes is not None
            self.left = max(room_bytes - self.now() - cpu._CODE_GROWTH_BYTES, 0)

    governor = Governor(900_000_000, Kept())
    governor.renew()
    assert governor.renew() is False
