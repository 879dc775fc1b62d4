"""A plan: its name in tables, what its dtypes mean, and its way through JSON."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.config.plan import Cost, Plan, plan_as_dict, plan_from_dict

PLAN = Plan(
    method="full", dtype="fp32", batch=32, micro_batch=4, max_length=64, checkpointing=False, optimizer="adamw",
    learning_rate=1e-3, epochs=2.0, steps=100, trainable=1000,
)  # fmt: skip
NEIGHBOURS = replace(PLAN, method="nno", dtype="bf16", batch=4, neighbours=16, last_layers=2, optimizer="none")


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        (PLAN, "full · fp32 · 4/32"),
        (replace(PLAN, method="lora", rank=16, dtype="bf16"), "lora r16 · bf16 · 4/32"),
        (replace(PLAN, method="lora", rank=8, base_dtype="int4"), "lora r8 · fp32 on int4 · 4/32"),
        (replace(PLAN, method="lora", rank=8, base_dtype="bf16"), "lora r8 · fp32 · 4/32"),
        (replace(PLAN, method="layers", last_layers=2, checkpointing=True), "layers 2 · fp32 · 4/32 · checkpointing"),
        (replace(PLAN, optimizer="adafactor"), "full · fp32 · 4/32 · adafactor"),
        (NEIGHBOURS, "nno 2 k16 · bf16 · 4/72"),
    ],
)
def test_a_name_says_what_differs_from_the_usual(plan: Plan, name: str) -> None:
    assert plan.name == name


def test_a_row_is_evaluated_once_or_at_each_neighbour_and_at_two_centres() -> None:
    assert (PLAN.evaluated, NEIGHBOURS.evaluated) == (32, 4 * 18)


@pytest.mark.parametrize(
    ("plan", "weight", "loaded", "autocast"),
    [
        (replace(PLAN, dtype="bf16"), "fp32", "fp32", "bf16"),  # masters in fp32, cast while they compute
        (NEIGHBOURS, "bf16", "bf16", "fp32"),  # no masters: held in bf16, and nothing is cast
        (replace(PLAN, dtype="bf16", base_dtype="bf16"), "bf16", "bf16", "bf16"),
        (replace(PLAN, dtype="bf16", base_dtype="int8"), "int8", "bf16", "bf16"),
        (replace(PLAN, base_dtype="int4"), "int4", "fp32", "fp32"),
    ],
)
def test_what_weights_are_held_loaded_and_computed_in(plan: Plan, weight: str, loaded: str, autocast: str) -> None:
    assert (plan.weight_dtype, plan.loaded_dtype, plan.autocast) == (weight, loaded, autocast)


def test_a_smaller_micro_batch_changes_nothing_else() -> None:
    smaller = PLAN.with_micro_batch(1)
    assert smaller.micro_batch == 1
    assert replace(smaller, micro_batch=PLAN.micro_batch) == PLAN


@given(st.dictionaries(st.sampled_from(["load", "train", "save"]), st.integers(0, 10**12), min_size=1))
def test_the_peak_is_the_largest_phase(memory_bytes: dict[str, int]) -> None:
    assert Cost(memory_bytes, 1.0, 1.0).peak_bytes == max(memory_bytes.values())


def test_a_plan_comes_back_from_json_and_its_name_is_for_readers() -> None:
    plan = replace(NEIGHBOURS, cost=Cost({"train": 5}, 2.5, 1e9, {"weights": 3}), keep_adapter=True)
    raw = json.loads(json.dumps(plan_as_dict(plan)))
    assert raw["name"] == plan.name
    assert plan_from_dict(raw) == plan
    assert plan_from_dict({**raw, "name": "edited by hand"}) == plan
