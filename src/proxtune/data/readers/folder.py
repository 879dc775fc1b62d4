"""Which files of a folder hold a split: the layouts that Hugging Face datasets come in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from proxtune.data.file_kind import SUFFIXES_OF_KINDS, check_kind
from proxtune.data.table import unreadable
from proxtune.errors import UserError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow")
TRAIN_NAMES = ("train", "training")
SPLIT_NAMES = {
    "train": TRAIN_NAMES,
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
_NOT_DATA = ("dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "config.json")


def _saved_files(folder: Path) -> list[Path]:
    """The Arrow files of a dataset that `save_to_disk` wrote, in its own order."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        # The name only: a state file must not lead out of its folder.
        return [folder / Path(str(entry["filename"])).name for entry in state["_data_files"]]
    except OSError:
        return []
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder / 'state.json'}: broken; save the dataset again with save_to_disk") from None


def _in(base: Path, name: str) -> list[Path]:
    if (base / name / "state.json").is_file():
        return _saved_files(base / name)
    for suffix in SUFFIXES:
        if (base / f"{name}{suffix}").is_file():
            return [base / f"{name}{suffix}"]
    for suffix in (".parquet", ".arrow"):
        shards = sorted(path for path in base.glob(f"{name}-*{suffix}") if path.is_file())
        if shards:
            return shards
    return []


def find_split_file(folder: Path, names: Iterable[str]) -> list[Path]:
    """The file, or the shards in order, of the first of `names` that `folder` has; empty where it has none.

    Looks in the folder, in its `data`, then in its other folders (dataset configurations). Raises UserError.
    """
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise unreadable(folder, error) from None
    inner.sort(key=lambda path: path.name != "data")
    for base in (folder, *inner):
        for name in names:
            found = _in(base, name)
            if found:
                return found
    return []


def find_train_files(folder: Path) -> list[Path]:
    """The files to train on: a split called train, a saved dataset or the only file. Raises UserError."""
    found = find_split_file(folder, TRAIN_NAMES) or _saved_files(folder)
    if found:
        return found
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file()]
    files = [path for path in files if path.name not in _NOT_DATA]
    if len(files) == 1:
        return files
    if files:
        problem = f"{len(files)} data files and none is called train"
        raise UserError(f"{folder}: {problem}; give one of them, like {files[0]}")
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES_OF_KINDS and path.is_file():
            check_kind(path)
    kinds = "train.csv, .tsv, .jsonl, .json or .parquet"
    raise UserError(f"{folder}: nothing readable in this folder; put {kinds} there, or give a file")
