"""The recipe: all that a user asked for, in one value that a run folder keeps as `recipe.toml`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from proxtune.config.budget import Budget
from proxtune.errors import UserError

DEFAULT_MODEL = "minilm"
DEFAULT_BATCH = 32
DEFAULT_GENERATOR = "smollm2"  # where text is to be generated
BAD_ROWS = ("fail", "skip")


@dataclass(frozen=True, slots=True)
class Knobs:
    """What the user fixed by hand; None leaves the choice to the planner."""

    micro_batch: int | None = None
    batch: int | None = None
    max_length: int | None = None
    dtype: str | None = None  # "fp32" or "bf16"
    checkpointing: bool | None = None
    optimizer: str | None = None  # "adamw" or "adafactor"
    learning_rate: float | None = None
    epochs: float | None = None
    rank: int | None = None
    last_layers: int | None = None
    keep_adapter: bool | None = None
    base_dtype: str | None = None  # codes that weights under adapters are held in: "int8" or "int4"
    stream: bool | None = None  # whether weights under adapters stay in their files


@dataclass(frozen=True, slots=True)
class Recipe:
    """A run as it was asked for.

    Two equal recipes on equal data make equal runs, on equal machines and where time does not bind.
    """

    data: str
    out: str
    task: str | None = None
    model: str = DEFAULT_MODEL  # "": that of the task
    method: str = "auto"
    seed: int = 0
    budget: Budget = field(default_factory=Budget)
    validation: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    device: str = "auto"
    bad_rows: str = "fail"
    instruction: str | None = None  # before each text; "" for none
    knobs: Knobs = field(default_factory=Knobs)

    def as_dict(self) -> dict[str, object]:
        """Nested plain values without the Nones, as TOML has no null."""
        raw = asdict(self)
        raw["budget"] = self.budget.as_dict()
        return {
            key: {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
            for key, value in raw.items()
            if value is not None
        }


def check(recipe: Recipe) -> None:
    """Raises UserError for a value that no run can do anything with. Names of tasks, methods and devices: `pipeline/names.py`."""
    if recipe.bad_rows not in BAD_ROWS:
        raise UserError(f"--bad-rows {recipe.bad_rows!r} is not known; choose fail or skip")
    knobs = recipe.knobs
    for name in ("micro_batch", "batch", "max_length", "rank", "last_layers", "epochs", "learning_rate"):
        value = getattr(knobs, name)
        if value is not None and value <= 0:
            raise UserError(f"--{name.replace('_', '-')} {value} must be more than zero")
    if knobs.dtype not in (None, "fp32", "bf16"):
        raise UserError(f"unknown dtype {knobs.dtype!r}; choose fp32 or bf16")
    if knobs.base_dtype not in (None, "int8", "int4"):
        raise UserError(f"unknown base dtype {knobs.base_dtype!r}; choose int8 or int4")
    if knobs.optimizer not in (None, "adamw", "adafactor"):
        raise UserError(f"unknown optimizer {knobs.optimizer!r}; choose adamw or adafactor")
