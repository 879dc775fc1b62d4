"""Parquet and Arrow files. pyarrow is imported only here, and only when such a file is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from proxtune.data.table import Table, unreadable
from proxtune.errors import UserError


def _class_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    # The `datasets` library stores labels as numbers, and their names in the schema's metadata.
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        kinds = {name: kind for name, kind in features.items() if isinstance(kind, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    found = {name: kind.get("names") for name, kind in kinds.items() if kind.get("_type") == "ClassLabel"}
    return {name: [str(word) for word in names] for name, names in found.items() if isinstance(names, list)}


def named_classes(cells: list[object], names: list[str]) -> list[object]:
    """Class numbers as their names; numbers without one (-1 stands for unlabelled) become None."""
    return [names[cell] if isinstance(cell, int) and 0 <= cell < len(names) else None for cell in cells]


def _holds_words(kind: Any, types: Any) -> bool:
    """Whether lists hold objects or strings: turns, or several answers."""
    while types.is_list(kind) or types.is_large_list(kind):
        kind = kind.value_type
    return bool(types.is_struct(kind) or types.is_string(kind) or types.is_large_string(kind))


def _table(arrow: Any, types: Any, objects: bool) -> Table:
    names = _class_names(arrow.schema.metadata)
    columns: dict[str, list[object]] = {}
    for name, column in zip(arrow.column_names, arrow.columns, strict=True):
        if types.is_nested(column.type) and not (objects and _holds_words(column.type, types)):
            columns[name] = [[]] * len(column)  # embeddings can be large, and only their being lists will be told
        elif types.is_binary(column.type) or types.is_large_binary(column.type):
            columns[name] = [b""] * len(column)  # so can images
        else:
            column.validate(full=True)  # of a damaged file places may lie outside it: reading there ends the process
            cells = column.to_pylist()
            columns[name] = named_classes(cells, names[name]) if name in names else cells
    return Table(columns, list(range(1, arrow.num_rows + 1)), unit="row")


def _open_stream(path: Path) -> Any:
    import pyarrow as pa

    file = pa.memory_map(str(path))  # what is not used of it is not read
    try:
        return pa.ipc.open_stream(file).read_all()
    except pa.ArrowInvalid:  # the other of Arrow's two layouts
        return pa.ipc.open_file(file).read_all()


def _open_parquet(path: Path, max_rows: int | None) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    # ParquetFile, as read_table takes the folders in a path for columns.
    with parquet.ParquetFile(path) as file:
        if max_rows is None:
            return file.read()
        first = next(file.iter_batches(batch_size=max_rows), None)
        return pa.Table.from_batches([] if first is None else [first], schema=file.schema_arrow)


def read_arrow(path: Path, max_rows: int | None = None, *, objects: bool = False) -> Table:
    """A .parquet or .arrow file, or its first rows; with `objects`, columns of objects are kept. Raises UserError."""
    try:
        import pyarrow as pa
        from pyarrow import types
    except ImportError:
        raise UserError(f"{path}: needs pyarrow; run `pip install 'proxtune[parquet]'`, or save it as .jsonl") from None
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise UserError(f"{path}: the file is empty; give one with a text and a label in each row")
        is_parquet = path.suffix.lower() == ".parquet"
        arrow = _open_parquet(path, max_rows) if is_parquet else _open_stream(path).slice(0, max_rows)
        table = _table(arrow, types, objects)
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, PermissionError):
            raise unreadable(path, error) from None
        reason = str(error).strip().split("\n")[0][:120]
        raise UserError(f"{path}: damaged ({reason}); write it again, or save it as .jsonl") from None
    if not table.lines:
        raise UserError(f"{path}: has columns but no rows; add rows")
    return table
