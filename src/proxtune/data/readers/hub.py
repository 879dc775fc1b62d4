"""Datasets by name from the Hugging Face hub, where the `datasets` library is installed."""

from __future__ import annotations

from typing import Any

from proxtune.data.readers.arrow import named_classes
from proxtune.data.table import Table
from proxtune.errors import UserError


def _load(name: str, split: str) -> Any:
    try:
        import datasets
    except ImportError:
        advice = "give a file, or to load a Hugging Face dataset run `pip install 'proxtune[hub]'`"
        raise UserError(f"{name}: no file or folder of that name; {advice}") from None
    try:
        return datasets.load_dataset(name, split=split)
    except Exception as error:  # network, hub and parser errors share no base class; most can be fixed by the user
        reason = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
        advice = "check the name and the network, or give a file"
        problem = f"no such file, and as a Hugging Face dataset not loaded ({reason})"
        raise UserError(f"{name}: {problem}; {advice}") from error


def read_hub(name: str, split: str = "train", max_rows: int | None = None) -> Table:
    """One split of a hub dataset, or its first rows, class numbers turned into their names. Raises UserError."""
    dataset = _load(name, split if max_rows is None else f"{split}[:{max_rows}]")
    columns: dict[str, list[object]] = {}
    for column in dataset.column_names:
        cells = list(dataset[column])
        feature = dataset.features[column]
        is_class = type(feature).__name__ == "ClassLabel"
        columns[column] = named_classes(cells, list(feature.names)) if is_class else cells
    rows = len(next(iter(columns.values()), []))
    if not rows:
        raise UserError(f"{name}: the split {split!r} has no rows; give a file or another dataset")
    return Table(columns, list(range(1, rows + 1)), unit="row", notes=[f"read the {split!r} split of {name}"])


def read_hub_split(name: str, names: tuple[str, ...]) -> Table | None:
    """The first split of a hub dataset that bears one of `names`, or None where there is none."""
    try:
        import datasets

        available = datasets.get_dataset_split_names(name)
    except Exception:  # the train split was or will be read, and says what is wrong
        return None
    found = next((split for split in names if split in available), None)
    return None if found is None else read_hub(name, found)
