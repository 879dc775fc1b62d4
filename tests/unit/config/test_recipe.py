import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.config.budget import Budget
from proxtune.config.recipe import Knobs, Recipe, check
from proxtune.errors import UserError
from proxtune.storage.run_folder import read_recipe, write_recipe

words = st.text(st.characters(codec="utf-8"), max_size=20)
amounts = st.integers(1, 2**62)
fractions = st.floats(1e-12, 1e18)


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | strategy


budgets = st.builds(
    Budget,
    memory=maybe(st.integers(1, 2**52)),
    size=maybe(st.integers(1, 2**52)),
    trainable=maybe(st.integers(1, 2**52)),
    time=maybe(fractions),
    compute=maybe(fractions),
)
knobs = st.builds(
    Knobs,
    micro_batch=maybe(amounts),
    batch=maybe(amounts),
    max_length=maybe(amounts),
    dtype=maybe(st.sampled_from(["fp32", "bf16"])),
    checkpointing=maybe(st.booleans()),
    optimizer=maybe(st.sampled_from(["adamw", "adafactor"])),
    learning_rate=maybe(fractions),
    epochs=maybe(fractions),
    rank=maybe(amounts),
    last_layers=maybe(amounts),
    keep_adapter=maybe(st.booleans()),
    base_dtype=maybe(st.sampled_from(["int8", "int4"])),
)
recipes = st.builds(
    Recipe,
    data=words,
    out=words,
    task=maybe(words),
    model=words,
    method=words,
    seed=st.integers(0, 2**62),
    budget=budgets,
    validation=maybe(words),
    text_column=maybe(words),
    label_column=maybe(words),
    device=words,
    knobs=knobs,
)


@given(recipes)
def test_a_recipe_comes_back_from_its_file(recipe: Recipe) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.toml"
        write_recipe(recipe, path)
        assert read_recipe(path) == recipe


def test_the_file_is_plain_toml_without_what_was_not_asked(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    recipe = Recipe(data='C:\\my "best" reviews.csv', out="runs/été", budget=Budget(memory="1GB"), knobs=Knobs(rank=8))
    write_recipe(recipe, path)
    assert tomllib.loads(path.read_text(encoding="utf-8")) == {
        "data": 'C:\\my "best" reviews.csv',
        "out": "runs/été",
        "model": "minilm",
        "method": "auto",
        "seed": 0,
        "device": "auto",
        "bad_rows": "fail",
        "budget": {"memory": 10**9},
        "knobs": {"rank": 8},
    }


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"knobs": Knobs(rank=0)}, "--rank 0 must be more than zero"),
        ({"knobs": Knobs(dtype="fp16")}, "unknown dtype 'fp16'"),
        ({"bad_rows": "keep"}, "--bad-rows 'keep'"),
    ],
    ids=str,
)
def test_a_value_that_no_run_can_do_anything_with_is_refused(parts: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check(Recipe(data="a.csv", out="runs/a", **parts))


def test_the_least_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    write_recipe(Recipe(data="a.csv", out="runs/a"), path)
    assert read_recipe(path) == Recipe(data="a.csv", out="runs/a")
    assert "[" not in path.read_text(encoding="utf-8")
