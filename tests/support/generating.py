"""What tests of text generation share: toy rows as a model sees them."""

from pathlib import Path

from proxtune.config.recipe import Knobs, Recipe
from proxtune.tasks.generation.dataset import GenerationData
from proxtune.tasks.registry import find_task


def toy_data(folder: Path, pairs: Path, max_length: int | None = None, kind: str = "translate") -> GenerationData:
    """Toy rows as the model in `folder` sees them."""
    recipe = Recipe(data=str(pairs), out="", task=kind, model=str(folder), knobs=Knobs(max_length=max_length))
    task = find_task(kind)
    return task.encode(recipe, task.read(recipe), folder)
