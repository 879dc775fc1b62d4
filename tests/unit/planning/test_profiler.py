"""The profile: how fast the machine is, and what is tried where memory is short."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

import proxtune.planning.profiler
import proxtune.planning.selection
from proxtune.config.budget import Budget
from proxtune.config.recipe import Recipe
from proxtune.data.dataset import Encoded
from proxtune.memory.devices.cpu import DEVICE
from proxtune.tasks.base import TaskTraits
from proxtune.tasks.classification.objective import LABELS
from support.profiles import GENERATING, MB


@pytest.mark.parametrize(("seconds", "passes"), [([0.2, 0.1, 0.4], 3), ([0.9, 0.5, 0.1], 2), ([2.0, 0.1, 0.4], 1)])
def test_of_a_few_passes_the_fastest_is_believed_and_slow_ones_are_not_many(monkeypatch, seconds, passes):
    now, took = [100.0], [0.05, *seconds]  # the first warms up
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    made = []

    def said_of(*given):
        made.append(took[len(made)])
        now[0] += made[-1]

    monkeypatch.setattr(proxtune.planning.profiler, "outputs_of", said_of)
    data = Encoded(
        ids=np.arange(64, dtype=np.int32),
        starts=np.arange(9) * 8,
        labels=np.zeros(8, dtype=int),
        truncated=0,
        objective=LABELS,
    )
    found = proxtune.planning.profiler.throughput(SimpleNamespace(), data, {"fp32": "fp32"}, 10.0, 0, None, 8)
    measured = made[1:]
    assert found["fp32"] == pytest.approx(10.0 * 64 / min(measured))
    assert len(measured) == passes


@pytest.mark.parametrize(
    ("memory", "numbers", "width", "traits", "profiled"),
    [
        (None, 10**9, 4, TaskTraits(), ("fp32", True, False)),
        ("1GB", 100_000_000, 4, TaskTraits(), ("fp32", True, False)),
        ("1GB", 150_000_000, 4, TaskTraits(), ("fp32", True, False)),
        ("1GB", 150_000_000, 2, TaskTraits(), ("bf16", False, False)),  # it stays mapped until all of it is converted
        ("1GB", 200_000_000, 4, TaskTraits(), ("bf16", False, False)),
        ("1GB", 10**9, 4, TaskTraits(), ("bf16", False, False)),  # nothing fits: what needs least is named
        (
            "250MB",
            20_000_000,
            4,
            TaskTraits(),
            ("fp32", False, False),
        ),  # a probe in fp32 needs least beside the libraries
        ("1GB", 100_000_000, 2, GENERATING.traits, ("fp32", True, False)),
        ("1GB", 200_000_000, 2, GENERATING.traits, ("bf16", True, False)),
        ("1GB", 10**9, 2, GENERATING.traits, ("bf16", True, True)),  # a block at a time
    ],
)
def test_the_profile_tries_nothing_that_would_pass_the_budget(monkeypatch, memory, numbers, width, traits, profiled):
    monkeypatch.setattr(proxtune.planning.profiler, "count_parameters", lambda folder: numbers)
    monkeypatch.setattr(proxtune.planning.profiler, "weight_bytes", lambda folder: width * numbers)
    monkeypatch.setattr(proxtune.planning.profiler, "may_use_bf16_weights", lambda session: True)
    session = SimpleNamespace(
        recipe=Recipe(data="", out="", budget=Budget(memory=memory)), source=SimpleNamespace(folder=None),
        phases=SimpleNamespace(others_bytes=20 * MB, memory_bytes={}), meter=SimpleNamespace(peak=lambda: 230 * MB),
        traits=traits, device=DEVICE, structure=None,
    )  # fmt: skip
    assert proxtune.planning.profiler._what_to_profile(session, 220 * MB) == profiled
