"""The rows of a run: what its recipe names, split the same way in every process."""

from __future__ import annotations

from proxtune.data import read_examples, read_split, split_examples
from proxtune.examples import Examples, Split
from proxtune.recipe import Recipe


def read_split_of(recipe: Recipe) -> Split[Examples]:
    """The rows to learn from and to judge by. Raises PersonError for data that do not do."""
    examples = read_examples(recipe.data, text_column=recipe.text_column, label_column=recipe.label_column)
    held: Examples | None
    if recipe.validation is not None:
        held = read_examples(recipe.validation, text_column=recipe.text_column, label_column=recipe.label_column)
    else:
        held = read_split(recipe.data, "validation", text_column=recipe.text_column, label_column=recipe.label_column)
    return split_examples(examples, held, recipe.seed)


def read_asked(recipe: Recipe, file: str) -> Examples:
    """The labelled rows that a trained model is to be judged by: a file's, or a folder's own test split."""
    text, label = recipe.text_column, recipe.label_column
    held = read_split(file, "test", text_column=text, label_column=label)
    return read_examples(file, text_column=text, label_column=label) if held is None else held


def line_of(examples: Examples, row: int) -> str:
    """What the person calls a row: its file and line."""
    return f"{examples.source} line {examples.lines[row]}"
