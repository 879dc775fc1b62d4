"""What a task is: the rows as the model sees them, and the objective that computes with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from proxtune.config.recipe import Recipe
from proxtune.data.batching import padded
from proxtune.data.dataset import Encoded
from proxtune.data.examples import Split
from proxtune.models.loading import import_architecture, load_classifier, load_generator, longest_allowed
from proxtune.tasks.classification.label_prompt import Prompt
from proxtune.tasks.generation.prompting import PromptFormat

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
    validation: Encoded
    max_length: int
    prompt: Prompt | None = None  # of a decoder that tells classes apart
    prompt_format: PromptFormat | None = None  # of a model that generates

    @property
    def pad_id(self) -> int:
        """What fills a row up."""
        return int(self.config.pad_token_id)

    @property
    def generates(self) -> bool:
        """Whether text is to be generated."""
        return self.prompt_format is not None

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


def longest_row(train: Encoded, validation: Encoded) -> int:
    return padded(int(max(train.lengths.max(), validation.lengths.max())))


def length_allowed(recipe: Recipe, tokenizer: Any, config: Any, most: int | None = None) -> int:
    """Tokens of a row at most, a multiple of 8: what the recipe asks for, or `most`; and no more than the model takes."""
    allowed = longest_allowed(tokenizer, config) // 8 * 8
    wanted = recipe.knobs.max_length or most
    return allowed if wanted is None else max(8, min(allowed, padded(wanted)))


def evenly_spaced_rows(rows: int, most: int) -> np.ndarray:
    """At most so many of some rows, evenly spread: their numbers."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).round().astype(np.int64))


def objective_of(data: Encoded) -> ModuleType:
    """The module that computes with such rows."""
    from proxtune.tasks.classification import objective as labels
    from proxtune.tasks.generation import objective as answers

    return answers if data.have_answers else labels


def rank_of(found: dict[str, float]) -> tuple[float, float]:
    """The rank of a score, which says itself whether it is of labels or of answers."""
    from proxtune.tasks.classification import objective as labels
    from proxtune.tasks.generation import objective as answers

    ranked: tuple[float, float] = (labels if "accuracy" in found else answers).rank(found)
    return ranked
