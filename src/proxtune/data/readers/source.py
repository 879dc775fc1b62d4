"""Any source → its rows as a table: a file, a folder, or the name of a Hugging Face dataset. Pickle is never loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from proxtune.data.file_kind import SUFFIXES_OF_KINDS, check_kind
from proxtune.data.readers.arrow import read_arrow
from proxtune.data.readers.delimited import read_csv, read_tsv
from proxtune.data.readers.folder import SPLIT_NAMES, SUFFIXES, find_split_file, find_train_files
from proxtune.data.readers.hub import read_hub, read_hub_split
from proxtune.data.readers.jsonl import read_json, read_jsonl
from proxtune.data.table import Table
from proxtune.errors import UserError

_READERS: dict[str, Callable[[Path, int | None], Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
}
_ARROW = (".parquet", ".arrow")
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?\Z")


def _read_file(path: Path, objects: bool, max_rows: int | None) -> Table:
    suffix = path.suffix.lower()
    if suffix not in _PICKLES:
        check_kind(path)
    if suffix in _READERS:
        return _READERS[suffix](path, max_rows)
    if suffix in _ARROW:
        return read_arrow(path, max_rows, objects=objects)
    why = "; pickled files can run code, so they are never loaded" if suffix in _PICKLES else ""
    kinds = ", ".join(SUFFIXES)
    raise UserError(f"{path}: cannot read {suffix or 'a file without a suffix'}{why}; save it as one of {kinds}")


def _read_files(paths: list[Path], source: str, objects: bool, max_rows: int | None) -> Table:
    if max_rows is not None:
        paths = paths[:1]
    tables = [_read_file(path, objects, max_rows) for path in paths]
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    told = dict.fromkeys(note for table in tables for note in table.notes)
    notes = [f"read {paths[0]}{more}", *told]
    if len(tables) == 1:
        return replace(tables[0], notes=notes)
    names = list(tables[0].columns)
    for path, table in zip(paths, tables, strict=True):
        if set(table.columns) != set(names):
            raise UserError(
                f"{path}: its columns differ from those of {paths[0]}; make them the same in all of {source}"
            )
    repeated = {name: other for table in tables for name, other in table.repeated.items()}
    columns = {name: [cell for table in tables for cell in table.columns[name]] for name in names}
    return Table(
        columns, list(range(1, sum(len(table.lines) for table in tables) + 1)), "row", notes=notes, repeated=repeated
    )


def _local(source: str) -> Path | None:
    """The path where `source` is on this machine, None where it can only be a hub name. Raises UserError."""
    if not source.strip() or "\0" in source:
        raise UserError("no data given; give a file, a folder or the name of a Hugging Face dataset")
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # no such user on this machine
        path = Path(source)
    if os.path.lexists(path):  # unlike Path.exists, it does not stumble over names too long
        if path.is_file() or path.is_dir():
            return path
        raise UserError(f"{source}: not a regular file or folder; give one of those")
    known = path.suffix.lower() in (*SUFFIXES, *_PICKLES, *SUFFIXES_OF_KINDS)
    if known or source.startswith((".", "/", "~")) or not _HUB_NAME.match(source):
        raise UserError(f"{source}: no such file; check the path")
    return None


def read_source(source: str, *, objects: bool = False, max_rows: int | None = None) -> Table:
    """The rows of a file, of a folder's train split, or of a hub dataset's train split.

    `objects` keeps the objects in the columns of an Arrow or Parquet file, which are left out otherwise. With `max_rows`
    reading ends there. Raises UserError.
    """
    path = _local(source)
    if path is None:
        return read_hub(source, max_rows=max_rows)
    if path.is_dir():
        return _read_files(find_train_files(path), source, objects, max_rows)
    return _read_file(path, objects, max_rows)


def read_source_split(source: str, split: str, *, objects: bool = False) -> Table | None:
    """A folder's or hub dataset's own split, "validation" or "test"; None where it has none. Raises UserError."""
    names = SPLIT_NAMES.get(split, (split,))
    path = _local(source)
    if path is None:
        return read_hub_split(source, names)
    files = find_split_file(path, names) if path.is_dir() else []
    return _read_files(files, source, objects, None) if files else None
