"""Classification as a task: labels, tokenizer, config and encoded rows."""

from __future__ import annotations

from pathlib import Path

from proxtune.config.recipe import Recipe
from proxtune.data.examples import Examples, Split
from proxtune.models.loading import classifier_config, load_tokenizer
from proxtune.tasks.base import Task, length_allowed, longest_row
from proxtune.tasks.classification.encoding import encode
from proxtune.tasks.classification.label_prompt import append_question, prompt_for, has_language_head
from proxtune.tasks.classification.reader import sorted_labels


def classification_task(recipe: Recipe, split: Split[Examples], folder: Path) -> Task:
    labels = sorted_labels(split.train)
    tokenizer = load_tokenizer(folder)
    config = classifier_config(folder, labels, tokenizer, 512)
    prompt = prompt_for(labels) if has_language_head(config) else None
    if prompt is not None:
        append_question(tokenizer, prompt)
    allowed = length_allowed(recipe, tokenizer, config)
    train_rows = encode(split.train, labels, tokenizer, allowed)
    validation_rows = encode(split.validation, labels, tokenizer, allowed)
    longest = longest_row(train_rows, validation_rows)
    config = classifier_config(folder, labels, tokenizer, longest)
    return Task(split, labels, tokenizer, config, train_rows, validation_rows, min(longest, allowed), prompt)
