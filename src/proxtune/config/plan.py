"""A plan: a method with every knob set, and what it is predicted to cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

CODE_BITS = {"int8": 8, "int4": 4}  # of weights that are held as codes
PHASES = ("load", "prepare", "train", "evaluate", "save")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a plan is predicted, or was measured, to use.

    `memory_bytes` by phase, of the whole process tree; `terms` names what the phase `train` is made of.
    """

    memory_bytes: dict[str, int]
    seconds: float
    flops: float
    terms: dict[str, int] = field(default_factory=dict)

    @property
    def peak_bytes(self) -> int:
        """The largest phase: what a memory budget must hold."""
        return max(self.memory_bytes.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """A method with every knob set. `micro_batch` counts rows of the longest kind; shorter rows may go more at a time.

    With `neighbours` a row counts once for each point that it is evaluated at, and the weights are held in `dtype`.
    """

    method: str
    dtype: str
    batch: int
    micro_batch: int
    max_length: int
    checkpointing: bool
    optimizer: str
    learning_rate: float
    epochs: float
    steps: int
    trainable: int
    allocator: str = "fast"
    rank: int = 0
    last_layers: int = 0
    neighbours: int = 0
    base_dtype: str = "fp32"  # that weights are held in; "bf16", "int8" or "int4" where adapters learn and they do not
    head_rows: int = 0  # that the classification layer is fitted to, before the first step where there are any
    keep_adapter: bool = False
    validation_rows: int = 0  # that are evaluated while training; 0 for all of them
    streamed: bool = False  # frozen weights stay in their files, a block at a time in memory
    expected: float = 0.0
    cost: Cost = field(default_factory=lambda: Cost({}, 0.0, 0.0))

    @property
    def name(self) -> str:
        """Short words for tables: 'lora r16 · bf16 · 8/32'."""
        rank, layers = f" r{self.rank}" if self.rank else "", f" {self.last_layers}" if self.last_layers else ""
        detail = rank + layers + (f" k{self.neighbours}" if self.neighbours else "")
        extra = " · checkpointing" if self.checkpointing else ""
        light = f" · {self.optimizer}" if self.optimizer not in ("adamw", "none") else ""
        codes = f" on {self.base_dtype}" if self.base_dtype in CODE_BITS else ""
        files = " · streamed" if self.streamed else ""
        return f"{self.method}{detail} · {self.dtype}{codes}{files} · {self.micro_batch}/{self.evaluated}{extra}{light}"

    @property
    def evaluated(self) -> int:
        """Rows that pass through the model in a step: each at θ, at its neighbours and at the point before, or once."""
        return self.batch * (self.neighbours + 2 if self.neighbours else 1)

    @property
    def weight_dtype(self) -> str:
        """What the weights are held in: masters for gradients are fp32 whatever they are cast to."""
        return self.dtype if self.neighbours else self.base_dtype

    @property
    def loaded_dtype(self) -> str:
        """What the weights are loaded in, before any become codes; and what these are again at the end."""
        return self.dtype if self.base_dtype in CODE_BITS else self.weight_dtype

    @property
    def autocast(self) -> str:
        """What weights are cast to while the model computes: `dtype`, or nothing ("fp32") where they are held in it."""
        return "fp32" if self.neighbours else self.dtype

    def with_micro_batch(self, micro_batch: int) -> Plan:
        """The same plan, effective batch, order and steps, in smaller micro-batches."""
        return replace(self, micro_batch=micro_batch)


@dataclass(frozen=True, slots=True)
class Refused:
    """A candidate that does not fit, and why, in words."""

    plan: Plan
    reason: str


@dataclass(frozen=True, slots=True)
class Infeasible:
    """No candidate fits: the nearest plan, and by how much it misses the budget."""

    nearest: Plan
    shortfall_bytes: int
    shortfall_seconds: float
    message: str


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """Plain values for JSON."""
    return asdict(plan) | {"name": plan.name}


def plan_from_dict(raw: dict[str, Any]) -> Plan:
    """The inverse of `plan_as_dict`."""
    raw = {key: value for key, value in raw.items() if key != "name"}
    return Plan(**(raw | {"cost": Cost(**raw["cost"])}))
