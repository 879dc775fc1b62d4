"""A recipe: plain values without what was not asked, and values that no run can do anything with."""

import json

import pytest

from proxtune.config.budget import Budget
from proxtune.config.recipe import Knobs, Recipe, check
from support.files import refusal

RECIPE = Recipe(data="a.csv", out="runs/a")


def test_as_plain_values_it_has_no_nones() -> None:
    recipe = Recipe(data="a.csv", out="runs/a", budget=Budget(memory="1GB"), knobs=Knobs(rank=8))
    raw = recipe.as_dict()
    assert raw["budget"] == {"memory": 10**9}
    assert raw["knobs"] == {"rank": 8}
    assert "null" not in json.dumps(raw)
    assert "task" not in raw


@pytest.mark.parametrize(
    "name", ["micro_batch", "batch", "max_length", "rank", "last_layers", "epochs", "learning_rate"]
)
@pytest.mark.parametrize("value", [0, -1])
def test_amounts_are_more_than_zero(name: str, value: int) -> None:
    option = f"--{name.replace('_', '-')}"
    assert f"{option} {value} must be more than zero" in refusal(
        check, Recipe("a.csv", "a", knobs=Knobs(**{name: value}))
    )


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"knobs": Knobs(dtype="fp16")}, "unknown dtype 'fp16'; choose fp32 or bf16"),
        ({"knobs": Knobs(base_dtype="int2")}, "unknown base dtype 'int2'; choose int8 or int4"),
        ({"knobs": Knobs(optimizer="sgd")}, "unknown optimizer 'sgd'; choose adamw or adafactor"),
        ({"bad_rows": "keep"}, "--bad-rows 'keep'"),
    ],
    ids=str,
)
def test_a_choice_is_one_of_those_there_are(parts: dict[str, object], words: str) -> None:
    assert words in refusal(check, Recipe(data="a.csv", out="runs/a", **parts))


def test_what_is_not_fixed_is_not_checked() -> None:
    check(RECIPE)
    check(Recipe("a.csv", "a", bad_rows="skip", knobs=Knobs(rank=1, epochs=0.1, dtype="bf16", base_dtype="int4")))
