"""What a device is: the contract that each file of this folder fills in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from proxtune.memory.devices.calibration import Calibration


class Meter(Protocol):
    """Bytes held now, the most held since `reset`, the most that may be held without a word to the system, how to let go of
    what is free, and the limit. `fragments` where what was freed leaves holes that only `trim` closes.
    """

    fragments: bool

    def now(self) -> int: ...
    def peak(self) -> int: ...
    def reach(self) -> int: ...
    def reset(self) -> None: ...
    def trim(self) -> None: ...
    def limit(self, room_bytes: int | None) -> None: ...
    def spare(self) -> int | None: ...


class Device(Protocol):
    """A kind of machine that models compute on. `proxtune.checks.check_device` tries all of it.

    Its plain attributes and `outer_limit_bytes` import no torch: the process that supervises a run asks for them.
    """

    @property
    def name(self) -> str:
        """What `--device` calls it: torch's own name for the type."""
        ...

    @property
    def torch_device(self) -> Any:
        """The torch.device that models are moved to."""
        ...

    @property
    def supports_bf16(self) -> bool:
        """Whether it multiplies bfloat16 in hardware; elsewhere it is emulated and slower than fp32."""
        ...

    @property
    def can_fork(self) -> bool:
        """Whether its state survives a fork, so that work may be done in a child that takes along what it holds."""
        ...

    @property
    def maps_files(self) -> bool:
        """Whether weights may stay in their files, and be in its memory only while they are used."""
        ...

    @property
    def allocators(self) -> tuple[str, ...]:
        """The allocators to choose from (`memory/allocator.py`), the fastest first."""
        ...

    @property
    def supervisor_counts(self) -> bool:
        """Whether the bytes of the process that supervises the run are of the memory that a budget counts here."""
        ...

    @property
    def calibration(self) -> Calibration: ...

    @property
    def optimizer_options(self) -> Mapping[str, Any]:
        """Options of torch.optim.AdamW."""
        ...

    def explain_missing(self) -> str | None:
        """Why there is no such device here and what to do, in words; None where there is one."""
        ...

    def meter(self) -> Meter:
        """A new meter of the memory that a budget counts."""
        ...

    def attention(self, usual: str) -> str:
        """The attention of transformers that is best, where `usual` is the one that suits the rows' length."""
        ...

    def outer_limit_bytes(self) -> int | None:
        """A limit that the system already sets on that memory; None without one."""
        ...
