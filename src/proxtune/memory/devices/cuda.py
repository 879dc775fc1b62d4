"""A CUDA device: its memory by the driver's own count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxtune.memory import process
from proxtune.memory.devices import cpu
from proxtune.memory.devices.calibration import Calibration, calibrated


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


_H200 = "seen on an H200 (benchmarks/gpu-2026-11-27.md)"
_NOT_HERE = "nothing on a GPU: its allocator, its kernels and its libraries are not counted, or are in the context"
_AS_CPU = "not measured on a GPU: as on a processor"
_NONE = {"fp32": 0, "bf16": 0}
CALIBRATION = calibrated(
    allocator_slack=({"fast": 1.15}, f"{_H200}: its allocator puts what it frees together again"),
    long_slack=(1.15, f"{_H200}: as for other rows"),
    adapter_slack=(1.0, _NOT_HERE),
    training_kernel_bytes=(_NONE, _NOT_HERE),
    forward_kernel_bytes=(_NONE, _NOT_HERE),
    neighbour_kernel_bytes=(_NONE, _NOT_HERE),
    adapter_kernel_bytes=(_NONE, _NOT_HERE),
    adapter_library_bytes=(0, _NOT_HERE),
    micro_batch_seconds=(0.001, _H200),
    **{
        name: (getattr(cpu.CALIBRATION, name), _AS_CPU)
        for name in (
            "fragmented_share", "fragmented_share_checkpointed", "fragmented_share_tight", "growth_ratio", "growth_bytes",
            "trained_heap_bytes", "first_pass_bytes", "scale_fit_bytes", "profiles_differ_bytes", "update_seconds",
            "neighbour_update_seconds", "long_micro_batch_seconds", "tight_slowdown", "codes_slowdown", "streamed_slowdown",
            "evaluation_seconds", "head_seconds", "size_phase_seconds", "scale_fit_seconds", "packing_seconds",
            "ending_seconds", "reports_seconds", "row_ending_seconds", "disk_bytes_per_second", "nominal_flops_per_second",
            "checkpointing_tokens",
        )
    },
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuda:
    """A CUDA device. The contract is `proxtune.memory.devices.base.Device`."""

    name: str = "cuda"
    can_fork: bool = False
    maps_files: bool = False
    allocators: tuple[str, ...] = ("fast",)
    supervisor_counts: bool = False  # it holds nothing on the device
    calibration: Calibration = CALIBRATION
    optimizer_options: Mapping[str, Any] = field(default_factory=lambda: {"fused": True})

    @property
    def torch_device(self) -> Any:
        import torch

        return torch.device("cuda")

    @property
    def supports_bf16(self) -> bool:
        import torch

        return torch.cuda.is_bf16_supported()

    def explain_missing(self) -> str | None:
        import torch

        if torch.cuda.is_available():
            return None
        return f"torch {torch.__version__} finds no CUDA device here; leave --device out, or say --device cpu"

    def meter(self) -> CudaMeter:
        return CudaMeter(self.torch_device)

    def attention(self, usual: str) -> str:
        """The fused kernels are the better ones for rows of any length."""
        return "sdpa"

    def outer_limit_bytes(self) -> int | None:
        """A control group does not limit a GPU's memory."""
        return None


DEVICE = Cuda()
