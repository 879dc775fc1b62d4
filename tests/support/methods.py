"""What tests of methods share: a classifier of three classes and what of it learns."""

from pathlib import Path

from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.tokenizer.loading import load_tokenizer


def a_classifier(folder: Path, labels: tuple[str, ...] = ("a", "b", "c")):
    """The model in `folder` with a new head, always the same."""
    return load_classifier(folder, classifier_config(folder, list(labels), load_tokenizer(folder), 16), 0)


def learning(model) -> set[str]:
    """The names of the parameters that learn."""
    return {name for name, p in model.named_parameters() if p.requires_grad}
