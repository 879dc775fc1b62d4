"""A cell as a word: what a user would write for it, and whether it can be written at all."""

from __future__ import annotations

import math
import re
from decimal import Decimal

# What no font shows: marks of zero width, of direction and of variants, soft hyphens, fillers, tags.
_MARKS = (
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_MARK = re.compile(f"[{_MARKS}]")
_INVISIBLE = re.compile(f"[\\s\\x00-\\x1f\\x7f-\\x9f{_MARKS}]*\\Z")  # and spaces and controls
_SHORT, _KNOWN = 32, 1000  # characters of a cell that is held once, and how many such there are


def cell_text(cell: object) -> str | None:
    """The cell as a word, None where it is missing; raises TypeError where it is no single value."""
    if isinstance(cell, str):
        return cell
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))  # a library that knows no missing integers wrote 1 as 1.0
    if isinstance(cell, int | float):
        return str(cell)
    if isinstance(cell, Decimal):  # a Parquet file's; 1.50 is the number that another file writes as 1.5
        return str(int(cell)) if cell == cell.to_integral_value() else f"{cell.normalize():f}"
    raise TypeError(kind_of(cell))


def kind_of(cell: object) -> str:
    """What kind of value a cell holds, with its article."""
    kind = type(cell).__name__
    kinds = {"list": "a list", "dict": "an object", "bytes": "bytes", "str": "a string", "NoneType": "nothing"}
    return kinds.get(kind, "a number" if isinstance(cell, int | float) else f"a {kind}")


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen."""
    return _INVISIBLE.match(text) is not None


def without_marks(text: str) -> str:
    """The text without what cannot be seen in it, spaces apart."""
    return text if text.isascii() else _MARK.sub("", text)


def to_valid_unicode(text: str) -> str:
    """The text with \ufffd for each half of a surrogate pair, which JSON can hold and no tokenizer or file takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_valid_unicode(text: str) -> bool:
    """Whether every character of the text can be written."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def held_once(cell: str, known: dict[str, str]) -> str:
    """The same string for equal short cells, as labels recur in every row; `known` is kept by the caller."""
    if len(cell) > _SHORT or (len(known) >= _KNOWN and cell not in known):
        return cell
    return known.setdefault(cell, cell)
