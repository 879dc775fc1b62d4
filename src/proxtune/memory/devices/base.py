"""What a device's memory meter answers, and which device and meter there are here."""

from __future__ import annotations

from typing import Any, Protocol

from proxtune.errors import UserError
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.devices.cuda import CudaMeter


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


def device_and_meter(wanted: str) -> tuple[Any, Meter]:
    """The device that "auto", "cpu" or "cuda" comes to here (torch.device), and the memory that a budget counts there.

    Raises UserError where there is no such device.
    """
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"torch {torch.__version__} finds no CUDA device here; leave --device out, or say --device cpu"
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu"), ProcessMeter()
    device = torch.device("cuda")
    return device, CudaMeter(device)
