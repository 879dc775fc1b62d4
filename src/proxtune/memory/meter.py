"""One interface to the memory that a budget counts: the process's RAM on a CPU, the device's memory on CUDA."""

from __future__ import annotations

import resource
from typing import Any, Protocol

from proxtune.errors import PersonError
from proxtune.memory import measure
from proxtune.memory.allocator import give_back

_CODE_GROWTH_BYTES = 8_000_000  # library pages that later phases still touch; files, so RLIMIT_DATA does not see them


class Meter(Protocol):
    """Bytes held now, the most held since `reset`, the most that may be held without a word to the system, how to let go of
    what is free, and the limit. `breaks_up` where what was freed leaves holes that only `give_back` closes.
    """

    breaks_up: bool

    def now(self) -> int: ...
    def peak(self) -> int: ...
    def reach(self) -> int: ...
    def reset(self) -> None: ...
    def give_back(self) -> None: ...
    def limit(self, room_bytes: int | None) -> None: ...
    def spare(self) -> int | None: ...


class ProcessMeter:
    """Resident memory of this process, mapped files included."""

    breaks_up = True

    def now(self) -> int:
        return measure.resident_bytes()

    def peak(self) -> int:
        return measure.peak_bytes()

    def reach(self) -> int:
        """What is held and the holes of the heap."""
        return measure.resident_bytes() + measure.hole_bytes()

    def reset(self) -> None:
        measure.reset_peak()

    def give_back(self) -> None:
        give_back()

    def limit(self, room_bytes: int | None) -> None:
        """Let the system refuse what goes beyond `room_bytes` (RLIMIT_DATA); None lifts the limit. Linux only.

        The limit is relative to what is reserved now, since imports reserve far more than they hold. What becomes resident was
        reserved before or fills a hole of the heap, so from here on resident ≤ resident now + holes now + (data − data now) +
        file pages still to come. The last are weights read for the first time: predicted, and watched by the governor.
        """
        data, (_, hard) = measure.data_bytes(), resource.getrlimit(resource.RLIMIT_DATA)
        if data is None:
            return
        allowed = hard
        if room_bytes is not None:
            allowed = data + max(room_bytes - self.reach() - _CODE_GROWTH_BYTES, 0)
            allowed = allowed if hard == resource.RLIM_INFINITY else min(allowed, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))

    def spare(self) -> int | None:
        """Bytes that may be reserved before the limit refuses; None without a limit."""
        data, (allowed, _) = measure.data_bytes(), resource.getrlimit(resource.RLIMIT_DATA)
        return None if data is None or allowed == resource.RLIM_INFINITY else allowed - data


class CudaMeter:
    """What this process holds of the device by the driver's own count: what torch has reserved, with the driver's context, which
    grows as kernels are loaded. What others held there when it began is not counted.
    """

    breaks_up = False

    def __init__(self, device: Any) -> None:
        import torch

        self._cuda, self._device = torch.cuda, torch.device("cuda", torch.cuda.current_device())
        torch.zeros(1, device=device)  # makes the context
        uuid = str(torch.cuda.get_device_properties(self._device).uuid)
        self._of_others = measure.device_bytes_of_others(uuid)
        self.total_bytes = torch.cuda.mem_get_info(self._device)[1]

    def now(self) -> int:
        return self._context() + int(self._cuda.memory_reserved(self._device))

    def peak(self) -> int:
        return self._context() + int(self._cuda.max_memory_reserved(self._device))

    def reach(self) -> int:
        """What is reserved is all held."""
        return self.now()

    def reset(self) -> None:
        self._cuda.reset_peak_memory_stats(self._device)

    def give_back(self) -> None:
        self._cuda.empty_cache()

    def limit(self, room_bytes: int | None) -> None:
        """Make the allocator refuse what goes beyond `room_bytes`."""
        share = 1.0 if room_bytes is None else (room_bytes - self._context()) / self.total_bytes
        self._cuda.set_per_process_memory_fraction(min(1.0, max(0.0, share)), self._device)

    def spare(self) -> int | None:
        """Nothing is reserved on a device that is not counted."""
        return None

    def _context(self) -> int:
        free, total = self._cuda.mem_get_info(self._device)
        reserved = int(self._cuda.memory_reserved(self._device))
        return max(0, int(total) - int(free) - reserved - self._of_others)


def device_and_meter(wanted: str) -> tuple[Any, Meter]:
    """The device that "auto", "cpu" or "cuda" comes to here (torch.device), and the memory that a budget counts there.

    Raises PersonError where there is no such device.
    """
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise PersonError(
            f"torch {torch.__version__} finds no CUDA device here; leave --device out, or say --device cpu"
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu"), ProcessMeter()
    device = torch.device("cuda")
    return device, CudaMeter(device)


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
            self.meter.give_back()
