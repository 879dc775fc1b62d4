"""The processor: memory of this process in RAM, and the system's limit on it."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxtune.memory import process
from proxtune.memory.allocator import trim
from proxtune.memory.devices.calibration import Calibration, calibrated
from proxtune.memory.mapped_files import can_let_go

_CODE_GROWTH_BYTES = 8_000_000  # library pages that later phases still touch; files, so RLIMIT_DATA does not see them


class ProcessMeter:
    """Resident memory of this process, mapped files included."""

    fragments = True

    def now(self) -> int:
        return process.resident_bytes()

    def peak(self) -> int:
        return process.peak_bytes()

    def reach(self) -> int:
        """What is held and the holes of the heap."""
        return process.resident_bytes() + process.hole_bytes()

    def reset(self) -> None:
        process.reset_peak()

    def trim(self) -> None:
        trim()

    def limit(self, room_bytes: int | None) -> None:
        """Let the system refuse what goes beyond `room_bytes` (RLIMIT_DATA); None lifts the limit. Linux only.

        The limit is relative to what is reserved now, since imports reserve far more than they hold. What becomes resident was
        reserved before or fills a hole of the heap, so from here on resident ≤ resident now + holes now + (data − data now) +
        file pages still to come. The last are weights read for the first time: predicted, and watched by the governor.
        """
        data, (_, hard) = process.data_bytes(), resource.getrlimit(resource.RLIMIT_DATA)
        if data is None:
            return
        allowed = hard
        if room_bytes is not None:
            allowed = data + max(room_bytes - self.reach() - _CODE_GROWTH_BYTES, 0)
            allowed = allowed if hard == resource.RLIM_INFINITY else min(allowed, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))

    def spare(self) -> int | None:
        """Bytes that may be reserved before the limit refuses; None without a limit."""
        data, (allowed, _) = process.data_bytes(), resource.getrlimit(resource.RLIMIT_DATA)
        return None if data is None or allowed == resource.RLIM_INFINITY else allowed - data


_MINILM = "seen with MiniLM on two cores (docs/memory.md)"
_SMOLLM2 = "seen with SmolLM2 on two cores (benchmarks/text-prediction-2026-11-27.md)"
_FAMILIES = "seen with SmolLM2, T5, OLMoE and Mamba on two cores (benchmarks/family-prediction-2026-11-30.md)"
_BF16 = f"{_MINILM}; in bf16 oneDNN keeps kernels for each shape"
_ESTIMATE = "set by hand on a machine of two cores, without a record; it orders plans until a dry run measures"
CALIBRATION = calibrated(
    allocator_slack=({"fast": 1.6, "tight": 1.05}, _MINILM),
    long_slack=(
        1.25,
        "seen with SmolLM2 on English and French: 442 MB in a dry run where 355 were traced, 790 where 690 were",
    ),
    adapter_slack=(1.6, _MINILM),
    fragmented_share=({"bf16": 0.3, "fp32": 0.16}, _FAMILIES),
    fragmented_share_checkpointed=({"bf16": 0.3, "fp32": 0.45, "codes": 0.7}, _FAMILIES),
    fragmented_share_tight=(0.05, _SMOLLM2),
    growth_ratio=(1.02, _MINILM),
    growth_bytes=(6_000_000, _MINILM),
    training_kernel_bytes=({"fp32": 22_000_000, "bf16": 120_000_000}, _BF16),
    forward_kernel_bytes=({"fp32": 8_000_000, "bf16": 40_000_000}, _BF16),
    neighbour_kernel_bytes=({"fp32": 8_000_000, "bf16": 50_000_000}, _BF16),
    adapter_kernel_bytes=({"fp32": 8_000_000, "bf16": 60_000_000}, _BF16),
    adapter_library_bytes=(22_000_000, f"peft, {_MINILM}"),
    trained_heap_bytes=(5_000_000, _MINILM),
    first_pass_bytes=(60_000_000, _ESTIMATE),
    scale_fit_bytes=(20_000_000, _ESTIMATE),
    profiles_differ_bytes=(10_000_000, _ESTIMATE),
    update_seconds=(2e-9, _ESTIMATE),
    neighbour_update_seconds=(8e-9, _ESTIMATE),
    micro_batch_seconds=(0.01, _ESTIMATE),
    long_micro_batch_seconds=(0.001, _ESTIMATE),
    tight_slowdown=(1.6, _ESTIMATE),
    codes_slowdown=(1.2, _ESTIMATE),
    streamed_slowdown=(
        1.08,
        "seen with SmolLM2 on English and French, one core: 3.5 s a step streamed, two rows at a time, 3.3 s held, one",
    ),
    evaluation_seconds=(0.2, _ESTIMATE),
    head_seconds=(1.5, _ESTIMATE),
    size_phase_seconds=(3.0, _ESTIMATE),
    scale_fit_seconds=(5e-7, _ESTIMATE),
    packing_seconds=(7.0, _ESTIMATE),
    ending_seconds=(4.0, _ESTIMATE),
    reports_seconds=(2.0, "twice what was seen with MiniLM on two cores"),
    row_ending_seconds=(2.5e-4, _ESTIMATE),
    disk_bytes_per_second=(2e8, _ESTIMATE),
    nominal_flops_per_second=(5e10, _ESTIMATE),
    checkpointing_tokens=(
        192,
        "seen with MiniLM on two cores: in shorter rows recomputing the activations saved nothing",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """The processor. The contract is `proxtune.memory.devices.base.Device`."""

    name: str = "cpu"
    can_fork: bool = True
    allocators: tuple[str, ...] = ("fast", "tight")
    supervisor_counts: bool = True
    calibration: Calibration = CALIBRATION
    optimizer_options: Mapping[str, Any] = field(default_factory=lambda: {"fused": True})

    @property
    def torch_device(self) -> Any:
        import torch

        return torch.device("cpu")

    @property
    def supports_bf16(self) -> bool:
        import torch

        supported = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        return bool(supported()) or bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())

    @property
    def maps_files(self) -> bool:
        return can_let_go()

    def explain_missing(self) -> str | None:
        return None

    def meter(self) -> ProcessMeter:
        return ProcessMeter()

    def attention(self, usual: str) -> str:
        return usual

    def outer_limit_bytes(self) -> int | None:
        return process.outer_limit_bytes()


DEVICE = Cpu()
