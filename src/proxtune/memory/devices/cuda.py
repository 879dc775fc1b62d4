"""Memory of a CUDA device, by the driver's own count."""

from __future__ import annotations

from typing import Any

from proxtune.memory import process


class CudaMeter:
    """What this process holds of the device by the driver's own count: what torch has reserved, with the driver's context, which
    grows as kernels are loaded. What others held there when it began is not counted.
    """

    fragments = False

    def __init__(self, device: Any) -> None:
        import torch

        self._cuda, self._device = torch.cuda, torch.device("cuda", torch.cuda.current_device())
        torch.zeros(1, device=device)  # makes the context
        uuid = str(torch.cuda.get_device_properties(self._device).uuid)
        self._of_others = process.device_bytes_of_others(uuid)
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

    def trim(self) -> None:
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
