"""Text generation as a task: instruction, tokenizer, config and encoded rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from proxtune.config.recipe import Recipe
from proxtune.data.batching import padded
from proxtune.data.examples import Pairs, Split
from proxtune.models.loading import eos_token_ids, generator_config, load_tokenizer
from proxtune.tasks.base import Task, length_allowed, longest_row
from proxtune.tasks.generation.encoding import LONGEST, fit_to_length, useful_length, tokens_of
from proxtune.tasks.generation.prompting import PromptFormat, prompt_format_for, instruction_for


def generation_task(recipe: Recipe, split: Split[Pairs], folder: Path) -> Task:
    assert recipe.task is not None, "a recipe that is carried out has a task"
    tokenizer = load_tokenizer(folder)
    config = generator_config(folder, tokenizer, 512)
    instruction = recipe.instruction
    if instruction is None:
        instruction = instruction_for(recipe.task, split.train, config.is_encoder_decoder)
    prompt_format = prompt_format_for(recipe.task, instruction, tokenizer, config, eos_token_ids(folder))
    allowed = length_allowed(recipe, tokenizer, config, LONGEST)
    parts = (split.train, split.validation)
    tokens = [tokens_of(part, prompt_format, tokenizer) for part in parts]
    if recipe.knobs.max_length is None:
        lengths = np.concatenate([part.lengths for part in tokens])
        allowed = min(allowed, padded(useful_length(lengths, allowed)))
    train_rows, validation_rows = (
        fit_to_length(own, part, prompt_format, tokenizer, allowed) for own, part in zip(tokens, parts, strict=True)
    )
    longest = longest_row(train_rows, validation_rows)
    config = generator_config(folder, tokenizer, longest)
    return Task(split, [], tokenizer, config, train_rows, validation_rows, min(longest, allowed), prompt_format=prompt_format)


def describe_asking(prompt_format: PromptFormat, new_tokens: int) -> dict[str, Any]:
    """What whoever uses the model has to know to ask it as it was asked when it learned."""
    form = "source" if prompt_format.is_encoder_decoder else "messages" if prompt_format.uses_chat_template else "prompt"
    return {"instruction": prompt_format.instruction, "new_tokens": new_tokens, "asked_as": form}
