"""Profiles as they might be found, for tests of the planner and of what selects its plans."""

from dataclasses import replace

from proxtune.config.budget import Budget
from proxtune.config.plan import Plan
from proxtune.config.recipe import Knobs
from proxtune.memory.devices.cpu import DEVICE
from proxtune.models.facts import ModelFacts
from proxtune.planning.planner import Selection, choose
from proxtune.planning.profile import Profile, Trace
from proxtune.tasks.base import TaskTraits
from proxtune.tasks.generation.task import TRAITS as GENERATION_TRAITS

MB = 1_000_000


def a_trace(fixed_bytes: int, row_bytes: int, forward_flops: float, flops: float) -> Trace:
    """A traced step."""
    return Trace(fixed_bytes=fixed_bytes, row_bytes=row_bytes, forward_flops=forward_flops, flops=flops)


# A model of MiniLM's size and 4,000 rows, on a machine of 50 GFLOP a second.
PROFILE = Profile(
    device=DEVICE, traits=TaskTraits(),
    model=ModelFacts(
        parameters=22_700_000, embedding_parameters=11_900_000, block_parameters=10_600_000, linear_parameters=10_600_000,
        rank_parameters=42_240, head_parameters=770, width=384, blocks=6,
    ),
    supervisor_bytes=50 * MB, libraries_bytes=280 * MB, import_peak_bytes=320 * MB, weights_bytes=91 * MB,
    rows=4000, validation_rows=400, epoch_tokens=160_000, validation_tokens=16_000, max_length=64, code_bytes=75 * MB,
    traces={
        "forward/fp32": a_trace(1 * MB, 1 * MB, 25e6, 25e6),
        "held-forward/fp32": a_trace(1 * MB, 1 * MB, 25e6, 25e6),
        "layers/fp32": a_trace(2 * MB, 8 * MB, 25e6, 75e6),
        "layers/fp32/ckpt": a_trace(2 * MB, 2 * MB, 25e6, 100e6),
        "lora/fp32": a_trace(2 * MB, 9 * MB, 26e6, 60e6),
        "lora/fp32/ckpt": a_trace(2 * MB, 2 * MB, 26e6, 85e6),
    },
    file_bytes=91 * MB, flops_per_second={"fp32": 5e10}, seconds_so_far=20.0,
)  # fmt: skip

# A model of SmolLM2's size that learns to answer.
GENERATING = replace(
    PROFILE, traits=GENERATION_TRAITS, weights_bytes=540 * MB,
    model=replace(PROFILE.model, parameters=135 * MB, linear_parameters=106 * MB), file_bytes=540 * MB, libraries_bytes=240 * MB,
    traces={key: trace for key, trace in PROFILE.traces.items() if not key.startswith("held-forward")},
)  # fmt: skip

# What is trained where a test only needs a plan.
PLAN = Plan(
    method="full", dtype="fp32", batch=8, micro_batch=4, max_length=32, checkpointing=False, optimizer="adamw",
    learning_rate=1e-3, epochs=1.0, steps=6, trainable=0,
)  # fmt: skip


def plan_for(memory=None, time=None, knobs=None, method="auto", **more) -> Selection:
    """What is chosen for `PROFILE`."""
    return choose(PROFILE, Budget(memory=memory, time=time, **more), knobs or Knobs(), method)
