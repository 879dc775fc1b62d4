"""JSON objects that hold rows in another way than one after the other: told apart, and how to turn each into rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_SPLITS = {"train", "training", "test", "validation", "valid", "val", "dev", "eval"}
_SHOWN = 4  # names in a message
_AS_ROWS = '.to_json("rows.jsonl", orient="records", lines=True)`'


def why_no_rows(value: Mapping[str, object]) -> str | None:
    """What the object is and what to do, in a sentence, where it holds many rows in another way than under "data"; else None."""
    lists = {name: cells for name, cells in value.items() if isinstance(cells, list)}
    if {"columns", "data"} <= set(lists) and all(isinstance(row, list) for row in lists["data"]):
        return f'pandas wrote it by orient="split"; write rows: `pandas.read_json(FILE, orient="split"){_AS_ROWS}'
    if lists and isinstance(value.get("data"), list):
        return None
    splits = [name for name in _of_objects(value) if name.lower() in _SPLITS]
    if splits:
        files = " and ".join(f"{name}.json" for name in splits[:_SHOWN])
        return f"it holds the splits {_listed(splits)}; write each into a file of its own, {files} in a folder, and give that"
    if lists and len(lists) == len(value) and len({len(cells) for cells in lists.values()}) == 1 and _many(lists):
        write = f"`pandas.DataFrame(json.load(open(FILE))){_AS_ROWS}"
        return f"it holds columns ({_listed(list(lists))}), not rows; write rows, for example with {write}"
    inner = [cells for cells in value.values() if isinstance(cells, dict)]
    if inner and len(inner) == len(value) and all(set(cells) == set(inner[0]) for cells in inner):
        by_row = _are_numbers(value)
        if not by_row and not _are_numbers(inner[0]):
            return None
        orient, what = ("index", "rows by number") if by_row else ("columns", f"columns ({_listed(list(value))})")
        write = f'`pandas.read_json(FILE, orient="{orient}"){_AS_ROWS}'
        return f"it holds {what}, as pandas writes them, not a list of rows; write rows with {write}"
    return None


def rows_under(value: Mapping[str, object]) -> str | None:
    """Which lists of an object could be the rows, in a sentence; None where none could."""
    found = _of_objects(value)
    return f"one object, with rows under {_listed(found)}; write such a list by itself" if found else None


def other_lists(value: Mapping[str, object]) -> str:
    """The names of lists beside "data" that could be rows as well, to show; empty where there are none."""
    return _listed([name for name in _of_objects(value) if name != "data"])


def _of_objects(value: Mapping[str, object]) -> list[str]:
    return [
        name
        for name, cells in value.items()
        if isinstance(cells, list) and cells and all(isinstance(row, dict) for row in cells)
    ]


def _are_numbers(names: Collection[str]) -> bool:
    return len(names) > 0 and all(name.isdigit() for name in names)


def _many(lists: Mapping[str, list[object]]) -> bool:
    return len(lists) > 1 and len(next(iter(lists.values()))) > 1


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
