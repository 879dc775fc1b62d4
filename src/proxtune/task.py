"""The task: the rows as the model sees them, with the sequence length that they need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.batches import padded
from proxtune.examples import Examples, Pairs, Split
from proxtune.models import (
    classifier_config,
    ends_of_text,
    generator_config,
    import_architecture,
    load_classifier,
    load_generator,
    load_tokenizer,
)
from proxtune.recipe import Recipe
from proxtune.tasks.classify import Encoded, encode, longest_allowed
from proxtune.tasks.generate import (
    LONGEST,
    Asking,
    asking_of,
    fitted,
    instruction_for,
    length_that_pays,
    tokens_of,
)
from proxtune.tasks.labels import sorted_labels
from proxtune.tasks.prompt import Prompt, ask_after, prompt_for, speaks

_MOST_NEW_TOKENS = 512
_LONGER = 1.5  # an answer may be than the longest that was learned


@dataclass(frozen=True, slots=True)
class Task:
    """The data as the model sees it."""

    split: Split[Any]
    labels: list[str]  # none where text is generated
    tokenizer: Any
    config: Any
    train: Encoded
    held: Encoded
    max_length: int
    prompt: Prompt | None = None  # of a decoder that tells classes apart
    asking: Asking | None = None  # of a model that generates

    @property
    def pad_id(self) -> int:
        """What fills a row up."""
        return int(self.config.pad_token_id)

    @property
    def generates(self) -> bool:
        """Whether text is to be generated."""
        return self.asking is not None

    @property
    def new_tokens(self) -> int:
        """Tokens that an answer may have."""
        longest = int(self.train.answer_lengths.max())
        return max(16, min(_MOST_NEW_TOKENS, padded(int(_LONGER * longest))))

    def load(self, folder: Path, seed: int, dtype: str = "fp32") -> Any:
        """The pretrained weights, held in `dtype`, with the head that the task needs."""
        if self.generates:
            return load_generator(folder, self.config, dtype)
        return load_classifier(folder, self.config, seed, dtype)

    def import_architecture(self) -> None:
        """Import the code of the model, which transformers does at the first load."""
        import_architecture(self.config, self.generates)


def read_task(recipe: Recipe, split: Split[Any], folder: Path) -> Task:
    """Examples → token ids, with the sequence length that these texts need."""
    return _generation(recipe, split, folder) if recipe.generates else _classification(recipe, split, folder)


def _classification(recipe: Recipe, split: Split[Examples], folder: Path) -> Task:
    labels = sorted_labels(split.train)
    tokenizer = load_tokenizer(folder)
    config = classifier_config(folder, labels, tokenizer, 512)
    prompt = prompt_for(labels) if speaks(config) else None
    if prompt is not None:
        ask_after(tokenizer, prompt)
    allowed = length_allowed(recipe, tokenizer, config)
    train_rows = encode(split.train, labels, tokenizer, allowed)
    held_rows = encode(split.validation, labels, tokenizer, allowed)
    longest = _longest(train_rows, held_rows)
    config = classifier_config(folder, labels, tokenizer, longest)
    return Task(split, labels, tokenizer, config, train_rows, held_rows, min(longest, allowed), prompt)


def _generation(recipe: Recipe, split: Split[Pairs], folder: Path) -> Task:
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
    longest = _longest(train_rows, held_rows)
    config = generator_config(folder, tokenizer, longest)
    return Task(split, [], tokenizer, config, train_rows, held_rows, min(longest, allowed), asking=asking)


def _longest(train: Encoded, held: Encoded) -> int:
    return padded(int(max(train.lengths.max(), held.lengths.max())))


def length_allowed(recipe: Recipe, tokenizer: Any, config: Any, most: int | None = None) -> int:
    """Tokens of a row at most, a multiple of 8: what the recipe asks for, or `most`; and no more than the model takes."""
    allowed = longest_allowed(tokenizer, config) // 8 * 8
    wanted = recipe.knobs.max_length or most
    return allowed if wanted is None else max(8, min(allowed, padded(wanted)))


def judged_rows(rows: int, most: int) -> np.ndarray:
    """At most so many of some rows, evenly spread: their numbers."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).round().astype(np.int64))


def describe_data(task: Task) -> dict[str, Any]:
    """What a result says of the rows."""
    notes = [*task.split.train.notes, task.split.note]
    if task.prompt is not None:
        notes.append(
            f"each text is followed by {task.prompt.question!r}; the labels' words are {list(task.prompt.words)}"
        )
    if task.asking is not None and task.asking.instruction:
        notes.append(f"before each text stands {task.asking.instruction!r} (--instruction to change)")
    truncated = task.train.truncated + task.held.truncated
    if truncated:
        notes.append(f"{truncated} rows were longer than {task.max_length} tokens and were cut there")
    return {
        "source": task.split.train.source, "train_rows": len(task.train), "validation_rows": len(task.held),
        "labels": task.labels, "notes": notes, "truncated_rows": truncated, "max_length": task.max_length,
        **({} if task.asking is None else _describe_asking(task.asking, task.new_tokens)),
    }  # fmt: skip


def _describe_asking(asking: Asking, new_tokens: int) -> dict[str, Any]:
    """What whoever uses the model has to know to ask it as it was asked when it learned."""
    form = "source" if asking.apart else "messages" if asking.by_turns else "prompt"
    return {"instruction": asking.instruction, "new_tokens": new_tokens, "asked_as": form}
