"""`--task pairs`. Only how rows are read and encoded differs from classification; the rest is inherited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from proxtune.config.recipe import Recipe
from proxtune.data.examples import Examples, Split
from proxtune.data.readers.source import read_source, read_source_split
from proxtune.data.split import split_examples
from proxtune.tasks.classification.task import Classification, ClassificationData, TrainedClassifier
from proxtune_sentence_pairs.rows import read_pairs, with_separator


@dataclass(frozen=True)
class SentencePairs(Classification):
    """Two sentences in, one of the user's labels out. The contract is `proxtune.tasks.base.Task`."""

    name: str = "pairs"

    def read(self, recipe: Recipe) -> Split[Examples]:
        examples = read_pairs(read_source(recipe.data), recipe.data, recipe.label_column, need_labels=True)
        given, source = recipe.validation, recipe.validation or recipe.data
        table = read_source_split(recipe.data, "validation") if given is None else read_source(given)
        validation = None if table is None else read_pairs(table, source, recipe.label_column, need_labels=True)
        return split_examples(examples, validation, recipe.seed)

    def read_evaluation(self, recipe: Recipe, file: str) -> Examples:
        table = read_source_split(file, "test") or read_source(file)  # a folder's own test split
        return read_pairs(table, file, recipe.label_column, need_labels=True)

    def read_inputs(self, recipe: Recipe, texts: Sequence[str], file: str | None) -> Examples:
        if file is None:
            return super().read_inputs(recipe, texts, None)
        return read_pairs(read_source(file), file, None, need_labels=False).without_labels()

    def encode(self, recipe: Recipe, split: Split[Examples], model_folder: Path) -> ClassificationData:
        separator = _separator(model_folder)
        separated = Split(
            train=with_separator(split.train, separator),
            validation=with_separator(split.validation, separator),
            note=split.note,
        )
        return replace(super().encode(recipe, separated, model_folder), split=split)

    def load_trained(
        self,
        model_folder: Path,
        recipe: Recipe,
        rows: Examples,
        *,
        result: Mapping[str, Any],
        model: Any = None,
        base: bool = False,
    ) -> TrainedClassifier:
        separated = with_separator(rows, _separator(model_folder))
        return super().load_trained(model_folder, recipe, separated, result=result, model=model, base=base)


def _separator(model_folder: Path) -> str:
    from proxtune.models.tokenizer.loading import load_tokenizer

    tokenizer = load_tokenizer(model_folder)
    return f" {tokenizer.sep_token or tokenizer.eos_token} "


PAIRS = SentencePairs()
