"""Which column holds the text and which the label: as named, as a run learned it, or guessed and said."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from proxtune.data.table import Table
from proxtune.data.values import is_blank
from proxtune.errors import UserError

# Best first, lower case, words joined by "_".
TEXT_NAMES = (
    *("text", "sentence", "review", "review_text", "content", "body", "comment", "comment_text", "tweet", "message"),
    *("utterance", "question", "query", "document", "article", "passage", "abstract", "description", "headline"),
    *("title", "texts", "input", "input_text", "x"),
)
LABEL_NAMES = (
    *("label", "labels", "sentiment", "category", "class", "target", "stars", "rating", "score", "intent", "topic"),
    *("emotion", "class_name", "label_text", "label_name", "output", "y"),
)
# Two texts whose label says what the one is to the other: neither alone tells.
PAIRS = (
    *(
        ("premise", "hypothesis"),
        ("sentence1", "sentence2"),
        ("sentence_1", "sentence_2"),
        ("sentence_a", "sentence_b"),
    ),
    *(("text1", "text2"), ("text_1", "text_2"), ("text_a", "text_b"), ("text", "text_pair"), ("s1", "s2")),
    *(("question1", "question2"), ("question_1", "question_2"), ("question", "sentence"), ("question", "passage")),
    *(("question", "answer"), ("query", "passage"), ("query", "document"), ("claim", "evidence"), ("headline", "body")),
)
PAIR_MARK = "\t"  # between the names of two columns in one; people write a comma, which a name may hold itself
_CHOICES = ("choices", "options", "candidates", "distractors", "endings")  # of a question with several answers
_MOST_CLASSES = 50  # in a guess by content; larger files may have one class for each hundred rows
_HEADER_WORDS, _HEADER_CHARACTERS = 5, 40  # a name longer than this is likely a text
_UNUSED_SHOWN = 3  # columns in a note
_INDEX = re.compile(
    r"(unnamed:_\d+|column_\d+|__index_level_\d+__|index|idx|id|uuid|guid|url|link|date|time|timestamp)\Z"
)
_NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d+)*|\d*[.,]\d+)([eE][+-]?\d+)?\s*\Z")
_TWO_WORDS = re.compile(r"[^\W\d_]{2,}\W+[^\W\d_]{2,}")


@dataclass(frozen=True, slots=True)
class Columns:
    """The chosen columns, and what was guessed, as text; `second` where a row is a pair of texts."""

    text: str
    label: str | None
    note: str | None
    second: str | None = None


def column_list(table: Table) -> str:
    """The names of the columns, to show; long ones are cut and many are counted."""
    names = [
        repr(name if len(name) <= _HEADER_CHARACTERS else name[: _HEADER_CHARACTERS - 3] + "...")
        for name in table.columns
    ]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def named_column(table: Table, source: str, name: str, option: str) -> str:
    """The column that the user named. Raises UserError, with the names there are, where it is absent."""
    if name not in table.columns:
        wanted = f"no column {name!r} for {option}" if option.startswith("--") else f"no column {name!r}, {option}"
        advice = "" if option.startswith("--") else "; rename the one that holds it"
        raise UserError(f"{source}: {wanted}; there are {column_list(table)}{advice}")
    return name


def normalized(name: str) -> str:
    """A column's name as the lists here write it."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def find_column(table: Table, known: tuple[str, ...], taken: str | None = None) -> str | None:
    """The column with the first of the `known` names that there is, `taken` left aside."""
    columns = {normalized(name): name for name in table.columns if name != taken}
    return next((columns[name] for name in known if name in columns), None)


def named_text_columns(table: Table, source: str, name: str, option: str = "--text-column") -> tuple[str, str | None]:
    """The column that the user named, or the two of a pair, "first,second". Raises UserError where there is none of that name."""
    if name not in table.columns:
        for place in (place for place, letter in enumerate(name) if letter in (PAIR_MARK, ",")):
            first, second = name[:place].strip(), name[place + 1 :].strip()
            if first in table.columns and second in table.columns and first != second:
                return first, second
    for part in name.split(PAIR_MARK):
        named_column(table, source, part, option)
    return name, None


def find_pair(table: Table, label: str | None = None) -> tuple[str, str] | None:
    """The two columns of texts with the names of a usual pair, `label` left aside."""
    columns = {normalized(name): name for name in table.columns if name != label}
    for pair in PAIRS:
        first, second = (columns.get(name) for name in pair)
        if (
            first is not None
            and second is not None
            and all(map(_has_words, (table.columns[first], table.columns[second])))
        ):
            return first, second
    return None


def is_free_text(cells: list[object]) -> bool:
    """Whether most cells differ and are of several words, or of a script other than Latin, which may have no spaces."""
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    if not texts or len(texts) < sum(cell is not None for cell in cells) / 2:
        return False
    wordy = sum(" " in text.strip() or not text.isascii() for text in texts)
    return 2 * len(set(texts)) > len(texts) and 2 * wordy > len(texts)


def _has_words(cells: list[object]) -> bool:
    filled = [cell for cell in cells if cell is not None and cell != ""]
    words = [cell for cell in filled if isinstance(cell, str)]
    return bool(words) and len(words) == len(filled) and not all(map(_is_number, words))


def _is_number(text: str) -> bool:
    return _NUMBER.match(text) is not None or text.strip().lower() in ("nan", "inf", "-inf")


def _longest_text(table: Table, taken: str | None) -> str | None:
    candidates = [name for name, cells in table.columns.items() if name != taken and _has_words(cells)]
    named = [name for name in candidates if not _INDEX.match(normalized(name))]

    def length(name: str) -> float:
        cells = table.columns[name]
        return sum(len(cell) for cell in cells if isinstance(cell, str)) / len(cells)

    return max(named or candidates, key=length, default=None)


def unused_texts(table: Table, used: Iterable[str | None]) -> list[str]:
    """Other columns of sentences or of answers to choose from, or the other one of a usual pair: a label may rest on them too."""
    taken = set(used)
    pair = find_pair(table) or ()
    other = [name for name in pair if name not in taken] if taken & set(pair) else []
    sentences = [
        name
        for name, cells in table.columns.items()
        if name not in (*taken, *other)
        and not _INDEX.match(normalized(name))
        and is_free_text(cells)
        and 2 * sum(_TWO_WORDS.search(cell) is not None for cell in cells if isinstance(cell, str)) > len(cells)
    ]
    choices = [
        name
        for name, cells in table.columns.items()
        if name not in taken and normalized(name) in _CHOICES and any(cell not in (None, "", [], {}) for cell in cells)
    ]
    return other + sentences + [name for name in choices if name not in (*other, *sentences)]


def _fewest_values(table: Table, taken: tuple[str | None, str | None]) -> str | None:
    most = max(_MOST_CLASSES, len(table.lines) // 100)
    best, best_count = None, most + 1
    for name, cells in table.columns.items():
        if name in taken or any(isinstance(cell, list | dict) for cell in cells):
            continue
        counts: dict[str, int] = {}
        filled = [cell for cell in cells if cell is not None and not (isinstance(cell, str) and is_blank(cell))]
        if 2 * len(filled) < len(cells):
            continue
        for cell in filled:
            counts[str(cell)] = counts.get(str(cell), 0) + 1
            if len(counts) > most:
                break
        if 2 <= len(counts) < best_count and min(counts.values()) >= 2:
            best, best_count = name, len(counts)
    return best


def looks_like_row(table: Table) -> bool:
    """Whether a header's names read like cells: one is long, is a number, or occurs among the cells below it."""
    for name, cells in table.columns.items():
        if _is_number(name) or len(name) > _HEADER_CHARACTERS or len(name.split()) > _HEADER_WORDS:
            return True
        if any(isinstance(cell, str) and cell.strip() == name for cell in cells):
            return True
    return False


def _note(found: Columns, text_guessed: bool, label_guessed: bool, unused: list[str]) -> str | None:
    parts, options = [], []
    if text_guessed and found.second is not None:
        parts.append(f"pairs of texts from columns {found.text!r} and {found.second!r}")
        options.append(f"--text-column {found.text!r}" if " " in found.text else f"--text-column {found.text}")
    elif text_guessed:
        parts.append(f"text from column {found.text!r}")
        options.append("--text-column")
    if label_guessed and found.label is not None:
        parts.append(f"label from column {found.label!r}")
        options.append("--label-column")
    told = [f"{', '.join(parts)} (guessed; {'/'.join(options)} to change)"] if parts else []
    if unused:
        shown = ", ".join(map(repr, unused[:_UNUSED_SHOWN])) + (", ..." if len(unused) > _UNUSED_SHOWN else "")
        both = f"{found.text},{unused[0]}"
        told.append(f"not used: {shown} (--text-column {both!r} for pairs of texts)")
    return "; ".join(told) or None


def choose_columns(
    table: Table, source: str, text_column: str | None = None, label_column: str | None = None, need_labels: bool = True
) -> Columns:
    """The columns by the names given, else by usual names, else by what they hold. Raises UserError."""
    label = None if label_column is None else named_column(table, source, label_column, "--label-column")
    text, second = (None, None) if text_column is None else named_text_columns(table, source, text_column)
    if label is not None and label in (text, second):
        raise UserError(f"{source}: the text and the label cannot both be column {label!r}; name two different ones")
    text_guessed, label_guessed = text is None, label is None
    label = _usual_label(table, (text, second)) if label_guessed else label
    if text is None:
        pair = find_pair(table, label) if need_labels else None
        text, second = pair or (find_column(table, TEXT_NAMES, label), None)
    if text is None and label is None and table.has_header and looks_like_row(table):
        advice = "add a header line such as `text,label`, or name the columns with --text-column and --label-column"
        raise UserError(f"{source}: the first line ({column_list(table)}) looks like a row, not a header; {advice}")
    if text is None:
        text = _longest_text(table, label)
    if text is None:
        raise UserError(f"{source}: no text column among {column_list(table)}; name it with --text-column")
    if label is None and need_labels:
        label = _fewest_values(table, (text, second))
        if label is None:
            advice = "name it with --label-column, or add a column `label`"
            raise UserError(f"{source}: no label column among {column_list(table)}; {advice}")
    found = Columns(text, label, None, second)
    unused = unused_texts(table, (text, second, label)) if second is None and need_labels else []
    return replace(found, note=_note(found, text_guessed, label_guessed, unused))


def learned_columns(table: Table, source: str, text_column: str, label_column: str | None) -> Columns:
    """The columns of new rows by the names that a run learned from; a single column is taken whatever its name.

    Raises UserError where they are not there.
    """
    why = "which the run learned from"
    only = next(iter(table.columns)) if len(table.columns) == 1 else None
    if only is not None and only != text_column and label_column is None and PAIR_MARK not in text_column:
        if table.has_header and looks_like_row(table):
            advice = f"write {text_column!r} into a line above it"
            raise UserError(f"{source}: the first line ({column_list(table)}) looks like a row, not a header; {advice}")
        return Columns(only, None, f"text from column {only!r}, the only one (the run learned from {text_column!r})")
    text, second = named_text_columns(table, source, text_column, why)
    label = None if label_column is None else named_column(table, source, label_column, why)
    names = f"column {text!r}" if second is None else f"columns {text!r} and {second!r}"
    return Columns(text, label, f"text from {names}, as the run learned it", second)


def _usual_label(table: Table, taken: tuple[str | None, str | None]) -> str | None:
    names = (name for known in LABEL_NAMES if (name := find_column(table, (known,))) is not None)
    return next((name for name in names if name not in taken), None)
