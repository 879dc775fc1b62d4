"""Real data that comes with the package: for the demo, the tests and the documentation."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from proxtune.errors import UserError


def movies_path(split: str = "train") -> Path:
    """The CSV file of sentences of film reviews, "train" or "test"; movies/README.md says whose. Raises UserError."""
    return _sample("movies", split, "csv")


def translations_path(split: str = "train") -> Path:
    """The JSONL file of English and French messages, "train" or "test"; django_en_fr/README.md says whose.

    Raises UserError.
    """
    return _sample("django_en_fr", split, "jsonl")


def _sample(name: str, split: str, suffix: str) -> Path:
    path = Path(str(files("proxtune.samples") / name / f"{split}.{suffix}"))
    if split not in ("train", "test") or not path.is_file():
        raise UserError(f"no {name} sample {split!r}; ask for 'train' or 'test', or reinstall proxtune")
    return path
