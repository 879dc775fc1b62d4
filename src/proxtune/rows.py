"""The rows of a run: what its recipe names, split the same way in every process."""

from __future__ import annotations

from typing import Any

from proxtune.data import (
    read_examples,
    read_pairs,
    read_pairs_split,
    read_split,
    split_examples,
    split_pairs,
)
from proxtune.examples import Examples, Pairs, Split
from proxtune.recipe import Recipe


def read_split_of(recipe: Recipe) -> Split[Any]:
    """The rows to learn from and to judge by. Raises PersonError for data that do not do."""
    if recipe.generates:
        return _split_of_pairs(recipe)
    examples = read_examples(recipe.data, text_column=recipe.text_column, label_column=recipe.label_column)
    held: Examples | None
    if recipe.validation is not None:
        held = read_examples(recipe.validation, text_column=recipe.text_column, label_column=recipe.label_column)
    else:
        held = read_split(recipe.data, "validation", text_column=recipe.text_column, label_column=recipe.label_column)
    return split_examples(examples, held, recipe.seed)


def _split_of_pairs(recipe: Recipe) -> Split[Pairs]:
    pairs = _read_pairs(recipe, recipe.data)
    if recipe.validation is not None:
        held: Pairs | None = _read_pairs(recipe, recipe.validation)
    else:
        held = _read_pairs_split(recipe, recipe.data, "validation")
    return split_pairs(pairs, held, recipe.seed)


def read_asked(recipe: Recipe, file: str) -> Any:
    """The rows, with labels or answers, that a trained model is to be judged by: a file's, or a folder's own test split."""
    if recipe.generates:
        own = _read_pairs_split(recipe, file, "test")
        return _read_pairs(recipe, file) if own is None else own
    text, label = recipe.text_column, recipe.label_column
    held = read_split(file, "test", text_column=text, label_column=label)
    return read_examples(file, text_column=text, label_column=label) if held is None else held


def read_questions(recipe: Recipe, file: str) -> Pairs:
    """The rows that a trained model is to answer; answers that are there are not needed."""
    return _read_pairs(recipe, file, need_answers=False)


def _read_pairs(recipe: Recipe, source: str, need_answers: bool = True) -> Pairs:
    assert recipe.task is not None, "a recipe that is carried out has a task"
    return read_pairs(
        source, recipe.task, text_column=recipe.text_column, label_column=recipe.label_column if need_answers else None,
        bad_rows=recipe.bad_rows, need_answers=need_answers,
    )  # fmt: skip


def _read_pairs_split(recipe: Recipe, source: str, split: str) -> Pairs | None:
    assert recipe.task is not None, "a recipe that is carried out has a task"
    return read_pairs_split(
        source, split, recipe.task, text_column=recipe.text_column, label_column=recipe.label_column,
        bad_rows=recipe.bad_rows,
    )  # fmt: skip


def line_of(examples: Examples | Pairs, row: int) -> str:
    """What the person calls a row: its file and line."""
    return f"{examples.source} line {examples.lines[row]}"
