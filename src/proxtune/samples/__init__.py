"""Real data that comes with the package: for the demo, the tests and the documentation."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from proxtune.errors import PersonError


def movies_path(split: str = "train") -> Path:
    """The CSV file of sentences of film reviews, "train" or "test"; movies/README.md says whose. Raises PersonError."""
    path = Path(str(files("proxtune.samples") / "movies" / f"{split}.csv"))
    if split not in ("train", "test") or not path.is_file():
        raise PersonError(f"no movies sample {split!r}; ask for 'train' or 'test', or reinstall proxtune")
    return path
