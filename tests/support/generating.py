"""What tests of text generation share: a task on toy rows, and its model."""

from pathlib import Path

from proxtune.config.recipe import Knobs, Recipe
from proxtune.models.source import ModelSource
from proxtune.tasks.base import Task
from proxtune.tasks.loading import read_split_of, read_task


def a_task(folder: Path, pairs: Path, max_length: int | None = None, kind: str = "translate") -> Task:
    """Toy rows as the model in `folder` sees them."""
    recipe = Recipe(data=str(pairs), out="", task=kind, model=str(folder), knobs=Knobs(max_length=max_length))
    return read_task(recipe, read_split_of(recipe), ModelSource(str(folder), folder, "").folder)
