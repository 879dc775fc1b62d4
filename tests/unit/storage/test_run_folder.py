"""The run folder: made once, and a recipe that comes back from its file."""

import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.config.budget import Budget
from proxtune.config.recipe import Knobs, Recipe
from proxtune.storage.run_folder import absolute, claim_folder, missing_parents, read_recipe, write_recipe
from support.files import refusal

words = st.text(st.characters(codec="utf-8"), max_size=20)
amounts = st.integers(1, 2**62)
bounded = st.integers(1, 2**52)
fractions = st.floats(1e-12, 1e18)


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | strategy


budgets = st.builds(
    Budget,
    memory=maybe(bounded),
    size=maybe(bounded),
    trainable=maybe(bounded),
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
    stream=maybe(st.booleans()),
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
    instruction=maybe(words),
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


def test_the_least_recipe_has_no_tables(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    write_recipe(Recipe(data="a.csv", out="runs/a"), path)
    assert read_recipe(path) == Recipe(data="a.csv", out="runs/a")
    assert "[" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"data = 1\n[", b'\xff = "a"', b'data = "a"', b'data = "a"\nout = "b"\nsurprise = 1\n',
        b'data = "a"\nout = "b"\nknobs = 3',
    ],
    ids=["empty", "broken", "not UTF-8", "without out", "an unknown key", "knobs that are none"],
)  # fmt: skip
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    assert f"{path} cannot be read as a recipe" in refusal(read_recipe, path)


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    with path.open("wb") as file:
        file.truncate(1_000_001)
    assert "too large" in refusal(read_recipe, path)


def test_a_run_folder_is_made_with_its_parents_and_never_twice(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "deep" / "one"
    assert missing_parents(str(out)) == [out.parent, out.parent.parent]
    assert claim_folder(str(out)) == out
    assert missing_parents(str(out)) == []
    assert "never overwritten; choose another --out" in refusal(claim_folder, str(out))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert "cannot be created: Not a directory" in refusal(claim_folder, str(tmp_path / "file" / "run"))


def test_only_what_is_on_this_machine_becomes_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("text,label\n")
    assert absolute("rows.csv") == str(tmp_path / "rows.csv")
    assert absolute("someone/reviews") == "someone/reviews"
