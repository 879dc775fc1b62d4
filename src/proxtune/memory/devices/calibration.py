"""What was measured on a kind of machine and a plan's predicted costs rest on: one `Calibration` for each device.

They rank plans and say what to try first. A plan is chosen by its dry run, which measures the machine at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Constants of a device, each with its source. Mappings are by dtype ("fp32", "bf16"), `allocator_slack` by allocator.

    Memory:
    allocator_slack: footprint over live bytes.
    long_slack: the same where memory goes back before each step, beside what is between activations (`fragmented_share`).
    adapter_slack: the same again under adapters: small tensors between large ones. Not where memory goes back before each step.
    fragmented_share: of a dry run's activations, what the heap comes to hold between them where rows are long; for
        micro-batches of one row. With checkpointing `fragmented_share_checkpointed`, which has "codes" too for weights that are
        made dense for each product; with the tight allocator `fragmented_share_tight`.
    growth_ratio, growth_bytes: a whole run's heap over that of a few steps.
    training_kernel_bytes, forward_kernel_bytes, neighbour_kernel_bytes: code, compiled kernels and scratch beyond what one
        forward pass in fp32 brings in. `adapter_kernel_bytes` come on top under adapters.
    adapter_library_bytes: the library that adapters need.
    trained_heap_bytes: what a heap that has trained does not give back before an evaluation.
    first_pass_bytes: code and scratch of a first forward pass, at the least.
    scale_fit_bytes: a fit of scales, at a time.
    profiles_differ_bytes: by how much two profiles of the same model and data differ.

    Time:
    update_seconds, neighbour_update_seconds: an optimizer's step for each trained parameter, a step by neighbours.
    micro_batch_seconds: for each block and micro-batch of whatever size: dispatch and allocation. `long_micro_batch_seconds`
        where rows are long: hidden behind the computing.
    tight_slowdown, codes_slowdown, streamed_slowdown: a step with the tight allocator, on weights held as codes or on streamed
        ones, over one without.
    evaluation_seconds: each evaluation, beside the computing.
    head_seconds: what the fit of a head takes beside its operations.
    size_phase_seconds, scale_fit_seconds: the begin of a size phase, and its fit for each parameter.
    packing_seconds: writing the packed file.
    ending_seconds, reports_seconds: saving the model; baselines and report. `row_ending_seconds` for each training row.
    disk_bytes_per_second: weights, written.
    nominal_flops_per_second: of a machine where nothing can be measured because nothing fits.
    checkpointing_tokens: in shorter rows recomputing the activations saves nothing.
    """

    allocator_slack: Mapping[str, float]
    long_slack: float
    adapter_slack: float
    fragmented_share: Mapping[str, float]
    fragmented_share_checkpointed: Mapping[str, float]
    fragmented_share_tight: float
    growth_ratio: float
    growth_bytes: int
    training_kernel_bytes: Mapping[str, int]
    forward_kernel_bytes: Mapping[str, int]
    neighbour_kernel_bytes: Mapping[str, int]
    adapter_kernel_bytes: Mapping[str, int]
    adapter_library_bytes: int
    trained_heap_bytes: int
    first_pass_bytes: int
    scale_fit_bytes: int
    profiles_differ_bytes: int
    update_seconds: float
    neighbour_update_seconds: float
    micro_batch_seconds: float
    long_micro_batch_seconds: float
    tight_slowdown: float
    codes_slowdown: float
    streamed_slowdown: float
    evaluation_seconds: float
    head_seconds: float
    size_phase_seconds: float
    scale_fit_seconds: float
    packing_seconds: float
    ending_seconds: float
    reports_seconds: float
    row_ending_seconds: float
    disk_bytes_per_second: float
    nominal_flops_per_second: float
    checkpointing_tokens: int
    sources: Mapping[str, str] = field(repr=False)


def constant_names() -> tuple[str, ...]:
    """The names of a calibration's constants."""
    return tuple(each.name for each in fields(Calibration) if each.name != "sources")


def calibrated(**constants: tuple[Any, str]) -> Calibration:
    """A calibration of (value, source) by name."""
    values = {name: value for name, (value, _) in constants.items()}
    return Calibration(**values, sources={name: source for name, (_, source) in constants.items()})
