"""The task: the rows as the model sees them, with the sequence length that they need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.batches import padded
from proxtune.examples import Examples, Split
from proxtune.models import classifier_config, load_tokenizer
from proxtune.recipe import Recipe
from proxtune.tasks.classify import Encoded, encode, longest_allowed
from proxtune.tasks.labels import sorted_labels
from proxtune.tasks.prompt import Prompt, ask_after, prompt_for, speaks


@dataclass(frozen=True, slots=True)
class Task:
    """The data as the model sees it."""

    split: Split[Examples]
    labels: list[str]
    tokenizer: Any
    config: Any
    train: Encoded
    held: Encoded
    max_length: int
    prompt: Prompt | None = None  # of a decoder

    @property
    def pad_id(self) -> int:
        """What fills a row up."""
        return int(self.config.pad_token_id)


def read_task(recipe: Recipe, split: Split[Examples], folder: Path) -> Task:
    """Examples → token ids, with the sequence length that these texts need."""
    labels = sorted_labels(split.train)
    tokenizer = load_tokenizer(folder)
    config = classifier_config(folder, labels, tokenizer, 512)
    prompt = prompt_for(labels) if speaks(config) else None
    if prompt is not None:
        ask_after(tokenizer, prompt)
    allowed = length_allowed(recipe, tokenizer, config)
    train_rows = encode(split.train, labels, tokenizer, allowed)
    held_rows = encode(split.validation, labels, tokenizer, allowed)
    longest = padded(int(max(train_rows.lengths.max(), held_rows.lengths.max())))
    config = classifier_config(folder, labels, tokenizer, longest)
    return Task(split, labels, tokenizer, config, train_rows, held_rows, min(longest, allowed), prompt)


def length_allowed(recipe: Recipe, tokenizer: Any, config: Any) -> int:
    """Tokens of a text at most: what the model takes, or what the recipe asks for if that is less; a multiple of 8."""
    allowed = longest_allowed(tokenizer, config) // 8 * 8
    if recipe.knobs.max_length is not None:
        allowed = max(8, min(allowed, padded(recipe.knobs.max_length)))
    return allowed


def describe_data(task: Task) -> dict[str, Any]:
    """What a result says of the rows."""
    notes = [*task.split.train.notes, task.split.note]
    if task.prompt is not None:
        notes.append(
            f"each text is followed by {task.prompt.question!r}; the labels' words are {list(task.prompt.words)}"
        )
    truncated = task.train.truncated + task.held.truncated
    if truncated:
        notes.append(f"{truncated} texts were longer than {task.max_length} tokens and were cut there")
    return {
        "source": task.split.train.source, "train_rows": len(task.train), "validation_rows": len(task.held),
        "labels": task.labels, "notes": notes, "truncated_rows": truncated, "max_length": task.max_length,
    }  # fmt: skip
