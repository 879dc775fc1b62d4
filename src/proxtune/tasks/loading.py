"""From a recipe to its rows, and from those to a task, the same way in every process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proxtune.config.recipe import Recipe
from proxtune.data.examples import Examples, Pairs, Split
from proxtune.data.split import split_examples, split_pairs
from proxtune.tasks.base import Task
from proxtune.tasks.classification.reader import read_examples, read_split
from proxtune.tasks.classification.task import classification_task
from proxtune.tasks.generation.reader import read_pairs, read_pairs_split
from proxtune.tasks.generation.task import describe_asking, generation_task


def read_split_of(recipe: Recipe) -> Split[Any]:
    """The rows to learn from and to judge by. Raises UserError for data that do not do."""
    if recipe.generates:
        return _split_of_pairs(recipe)
    examples = read_examples(recipe.data, text_column=recipe.text_column, label_column=recipe.label_column)
    validation: Examples | None
    if recipe.validation is not None:
        validation = read_examples(recipe.validation, text_column=recipe.text_column, label_column=recipe.label_column)
    else:
        validation = read_split(recipe.data, "validation", text_column=recipe.text_column, label_column=recipe.label_column)
    return split_examples(examples, validation, recipe.seed)


def _split_of_pairs(recipe: Recipe) -> Split[Pairs]:
    pairs = _read_pairs(recipe, recipe.data)
    if recipe.validation is not None:
        validation: Pairs | None = _read_pairs(recipe, recipe.validation)
    else:
        validation = _read_pairs_split(recipe, recipe.data, "validation")
    return split_pairs(pairs, validation, recipe.seed)


def read_evaluation_rows(recipe: Recipe, file: str) -> Any:
    """The rows, with labels or answers, that a trained model is to be judged by: a file's, or a folder's own test split."""
    if recipe.generates:
        own = _read_pairs_split(recipe, file, "test")
        return _read_pairs(recipe, file) if own is None else own
    text, label = recipe.text_column, recipe.label_column
    test_rows = read_split(file, "test", text_column=text, label_column=label)
    return read_examples(file, text_column=text, label_column=label) if test_rows is None else test_rows


def read_prompts(recipe: Recipe, file: str) -> Pairs:
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


def read_task(recipe: Recipe, split: Split[Any], folder: Path) -> Task:
    """Examples → token ids, with the sequence length that these texts need."""
    return generation_task(recipe, split, folder) if recipe.generates else classification_task(recipe, split, folder)


def describe_data(task: Task) -> dict[str, Any]:
    """What a result says of the rows."""
    notes = [*task.split.train.notes, task.split.note]
    if task.prompt is not None:
        notes.append(
            f"each text is followed by {task.prompt.question!r}; the labels' words are {list(task.prompt.words)}"
        )
    if task.prompt_format is not None and task.prompt_format.instruction:
        notes.append(f"before each text stands {task.prompt_format.instruction!r} (--instruction to change)")
    truncated = task.train.truncated + task.validation.truncated
    if truncated:
        notes.append(f"{truncated} rows were longer than {task.max_length} tokens and were cut there")
    return {
        "source": task.split.train.source, "train_rows": len(task.train), "validation_rows": len(task.validation),
        "labels": task.labels, "notes": notes, "truncated_rows": truncated, "max_length": task.max_length,
        **({} if task.prompt_format is None else describe_asking(task.prompt_format, task.new_tokens)),
    }  # fmt: skip
