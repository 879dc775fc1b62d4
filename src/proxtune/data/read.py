"""Any source → `Examples`: a file, a folder, or the name of a Hugging Face dataset. Pickle is never loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from proxtune.data.arrow import read_arrow
from proxtune.data.cells import to_examples
from proxtune.data.columns import choose_columns
from proxtune.data.delimited import read_csv, read_tsv
from proxtune.data.folder import SPLIT_NAMES, SUFFIXES, find_split_file, find_train_files
from proxtune.data.hub import read_hub, read_hub_split
from proxtune.data.objects import read_json, read_jsonl
from proxtune.data.table import Table
from proxtune.errors import PersonError
from proxtune.examples import Examples

_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".parquet": read_arrow,
    ".arrow": read_arrow,
}
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?\Z")


def _read_file(path: Path) -> Table:
    suffix = path.suffix.lower()
    if suffix in _READERS:
        return _READERS[suffix](path)
    why = "; pickled files can run code, so they are never loaded" if suffix in _PICKLES else ""
    kinds = ", ".join(SUFFIXES)
    raise PersonError(f"{path}: cannot read {suffix or 'a file without a suffix'}{why}; save it as one of {kinds}")


def _read_files(paths: list[Path], source: str) -> Table:
    tables = [_read_file(path) for path in paths]
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    notes = [f"read {paths[0]}{more}", *tables[0].notes]
    if len(tables) == 1:
        return Table(tables[0].columns, tables[0].lines, tables[0].unit, tables[0].has_header, notes)
    names = list(tables[0].columns)
    for path, table in zip(paths, tables, strict=True):
        if set(table.columns) != set(names):
            raise PersonError(
                f"{path}: its columns differ from those of {paths[0]}; make them the same in all of {source}"
            )
    columns = {name: [cell for table in tables for cell in table.columns[name]] for name in names}
    return Table(columns, list(range(1, sum(len(table.lines) for table in tables) + 1)), "row", notes=notes)


def _local(source: str) -> Path | None:
    """The path where `source` is on this machine, None where it can only be a hub name. Raises PersonError."""
    if not source.strip() or "\0" in source:
        raise PersonError("no data given; give a file, a folder or the name of a Hugging Face dataset")
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # no such person on this machine
        path = Path(source)
    if os.path.lexists(path):  # unlike Path.exists, it does not stumble over names too long
        if path.is_file() or path.is_dir():
            return path
        raise PersonError(f"{source}: not a regular file or folder; give one of those")
    known = path.suffix.lower() in (*SUFFIXES, *_PICKLES, ".txt", ".xlsx", ".gz", ".zip")
    if known or source.startswith((".", "/", "~")) or not _HUB_NAME.match(source):
        raise PersonError(f"{source}: no such file; check the path")
    return None


def _to_examples(
    table: Table, source: str, text_column: str | None, label_column: str | None, need_labels: bool
) -> Examples:
    columns = choose_columns(table, source, text_column, label_column, need_labels)
    return to_examples(table, columns, source, labels_asked=need_labels or label_column is not None)


def read_examples(
    source: str, *, text_column: str | None = None, label_column: str | None = None, need_labels: bool = True
) -> Examples:
    """The rows of a file, of a folder's train split, or of a hub dataset's train split.

    Columns not named are guessed and the guess is told in `notes`. Raises PersonError.
    """
    path = _local(source)
    if path is None:
        table = read_hub(source)
    elif path.is_dir():
        table = _read_files(find_train_files(path), source)
    else:
        table = _read_file(path)
    return _to_examples(table, source, text_column, label_column, need_labels)


def read_split(
    source: str,
    split: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    need_labels: bool = True,
) -> Examples | None:
    """A folder's or hub dataset's own split, "validation" or "test"; None where it has none. Raises PersonError."""
    names = SPLIT_NAMES.get(split, (split,))
    path = _local(source)
    table: Table | None = None
    if path is None:
        table = read_hub_split(source, names)
    elif path.is_dir():
        files = find_split_file(path, names)
        table = _read_files(files, source) if files else None
    if table is None:
        return None
    return _to_examples(table, source, text_column, label_column, need_labels)
