"""Text generation as a task: instruction, tokenizer, config and encoded rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from proxtune.config.recipe import Recipe
from proxtune.data.batching import padded
from proxtune.data.examples import Pairs, Split
from proxtune.models.loading import ends_of_text, generator_config, load_tokenizer
from proxtune.tasks.base import Task, length_allowed, longest_row
from proxtune.tasks.generation.encoding import LONGEST, fitted, length_that_pays, tokens_of
from proxtune.tasks.generation.prompting import Asking, asking_of, instruction_for


def generation_task(recipe: Recipe, split: Split[Pairs], folder: Path) -> Task:
    assert recipe.task is not None, "a recipe that is carried out has a task"
    tokenizer = load_tokenizer(folder)
    config = generator_config(folder, tokenizer, 512)
    instruction = recipe.instruction
    if instruction is None:
        instruction = instruction_for(recipe.task, split.train, config.is_encoder_decoder)
    asking = asking_of(recipe.task, instruction, tokenizer, config, ends_of_text(folder))
    allowed = length_allowed(recipe, tokenizer, config, LONGEST)
    parts = (split.train, split.validation)
    tokens = [tokens_of(part, asking, tokenizer) for part in parts]
    if recipe.knobs.max_length is None:
        lengths = np.concatenate([part.lengths for part in tokens])
        allowed = min(allowed, padded(length_that_pays(lengths, allowed)))
    train_rows, held_rows = (
        fitted(own, part, asking, tokenizer, allowed) for own, part in zip(tokens, parts, strict=True)
    )
    longest = longest_row(train_rows, held_rows)
    config = generator_config(folder, tokenizer, longest)
    return Task(split, [], tokenizer, config, train_rows, held_rows, min(longest, allowed), asking=asking)


def describe_asking(asking: Asking, new_tokens: int) -> dict[str, Any]:
    """What whoever uses the model has to know to ask it as it was asked when it learned."""
    form = "source" if asking.apart else "messages" if asking.by_turns else "prompt"
    return {"instruction": asking.instruction, "new_tokens": new_tokens, "asked_as": form}
