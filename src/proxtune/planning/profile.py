"""What was found out before planning: the machine, the model, the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from proxtune.memory.devices.base import Device
from proxtune.memory.devices.calibration import Calibration
from proxtune.models.facts import ModelFacts
from proxtune.tasks.base import TaskTraits


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Traced step of one structure at the longest length: live bytes are `fixed_bytes` + rows · `row_bytes`."""

    fixed_bytes: int
    row_bytes: int
    forward_flops: float  # for each token
    flops: float  # for each token, backward included


Traces = Mapping[str, Trace]  # by `trace_key`


def traces_as_dict(traces: Traces) -> dict[str, Any]:
    """Plain values for JSON."""
    return {key: asdict(trace) for key, trace in traces.items()}


def traces_from_dict(raw: Mapping[str, Any]) -> dict[str, Trace]:
    """The inverse of `traces_as_dict`."""
    return {key: Trace(**values) for key, values in raw.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """What trying the model showed: its facts, the bytes that a process holds once it has passed a row through it, the traces,
    and the operations a second of a forward pass by dtype.
    """

    facts: ModelFacts
    passed_bytes: int
    traces: Traces
    flops_per_second: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "facts": self.facts.as_dict(), "passed_bytes": self.passed_bytes, "traces": traces_as_dict(self.traces),
            "flops_per_second": dict(self.flops_per_second),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ModelProfile:
        """The inverse of `as_dict`."""
        return cls(
            facts=ModelFacts(**raw["facts"]), passed_bytes=raw["passed_bytes"], traces=traces_from_dict(raw["traces"]),
            flops_per_second=raw["flops_per_second"],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What was found out before planning: the machine, the model, the data. All bytes are of the device's memory."""

    device: Device
    model: ModelFacts
    traits: TaskTraits
    supervisor_bytes: int
    libraries_bytes: int  # this process before the model is loaded, tokenised data included
    import_peak_bytes: int  # the most it held while importing and reading
    weights_bytes: int  # in fp32
    rows: int
    validation_rows: int
    epoch_tokens: int  # padded
    validation_tokens: int  # padded
    max_length: int
    classes: int = 0  # that a classification layer tells apart; 0 where there is none
    code_bytes: int  # brought in by one row's forward pass in fp32, beside libraries and weights
    traces: Traces = field(default_factory=dict)
    flops_per_second: Mapping[str, float] = field(default_factory=dict)  # of a forward pass, by dtype
    starting_seconds: float = 0.0  # from the command to the profile
    seconds_so_far: float = 0.0  # those at the end for baselines and report counted too
    file_bytes: int = 0  # of the weights on disk
    has_size_limit: bool = False
    can_stream: bool = False  # frozen weights, from their files

    @property
    def calibration(self) -> Calibration:
        """What was measured on machines of this kind."""
        return self.device.calibration


def trace_key(family: str, dtype: str, checkpointing: bool = False) -> str:
    """Name of a traced structure in a profile: "layers/bf16/ckpt" and the like."""
    return f"{family}/{dtype}{'/ckpt' if checkpointing else ''}"
