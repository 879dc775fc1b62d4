"""Which column holds the text and which the label: as named, or guessed and said."""

from __future__ import annotations

from dataclasses import dataclass

from proxtune.data.table import Table
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
_MOST_CLASSES = 50  # in a guess by content; larger files may have one class for each hundred rows
_HEADER_WORDS, _HEADER_CHARACTERS = 5, 40  # a name longer than this is likely a text


@dataclass(frozen=True, slots=True)
class Columns:
    """The chosen columns, and what was guessed, as text."""

    text: str
    label: str | None
    note: str | None


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
        raise UserError(f"{source}: no column {name!r} for {option}; there are {column_list(table)}")
    return name


def normalized(name: str) -> str:
    """A column's name as the lists here write it."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def find_column(table: Table, known: tuple[str, ...], taken: str | None = None) -> str | None:
    """The column with the first of the `known` names that there is, `taken` left aside."""
    columns = {normalized(name): name for name in table.columns if name != taken}
    return next((columns[name] for name in known if name in columns), None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _longest_text(table: Table, taken: str | None) -> str | None:
    best, best_length = None, 0.0
    for name, cells in table.columns.items():
        filled = [cell for cell in cells if cell is not None and cell != ""]
        words = [cell for cell in filled if isinstance(cell, str)]
        if name == taken or not words or len(words) < len(filled) or all(_is_number(word) for word in words):
            continue
        length = sum(map(len, words)) / len(cells)
        if length > best_length:
            best, best_length = name, length
    return best


def _fewest_values(table: Table, taken: str | None) -> str | None:
    most = max(_MOST_CLASSES, len(table.lines) // 100)
    best, best_count = None, most + 1
    for name, cells in table.columns.items():
        if name == taken or any(isinstance(cell, list | dict) for cell in cells):
            continue
        counts: dict[str, int] = {}
        for cell in cells:
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


def _note(text: str, label: str | None, text_guessed: bool, label_guessed: bool) -> str | None:
    parts = [f"text from column {text!r}"] if text_guessed else []
    options = ["--text-column"] if text_guessed else []
    if label_guessed and label is not None:
        parts.append(f"label from column {label!r}")
        options.append("--label-column")
    return f"{', '.join(parts)} (guessed; {'/'.join(options)} to change)" if parts else None


def choose_columns(
    table: Table, source: str, text_column: str | None = None, label_column: str | None = None, need_labels: bool = True
) -> Columns:
    """The columns by the names given, else by usual names, else by what they hold. Raises UserError."""
    label = None if label_column is None else named_column(table, source, label_column, "--label-column")
    text = None if text_column is None else named_column(table, source, text_column, "--text-column")
    if text is not None and text == label:
        raise UserError(f"{source}: the text and the label cannot both be column {text!r}; name two different ones")
    text_guessed, label_guessed = text is None, label is None
    label = find_column(table, LABEL_NAMES, text) if label_guessed else label
    text = find_column(table, TEXT_NAMES, label) if text_guessed else text
    if text is None and label is None and table.has_header and looks_like_row(table):
        advice = "add a header line such as `text,label`, or name the columns with --text-column and --label-column"
        raise UserError(f"{source}: the first line ({column_list(table)}) looks like a row, not a header; {advice}")
    if text is None:
        text = _longest_text(table, label)
    if text is None:
        raise UserError(f"{source}: no text column among {column_list(table)}; name it with --text-column")
    if label is None and need_labels:
        label = _fewest_values(table, text)
        if label is None:
            advice = "name it with --label-column, or add a column `label`"
            raise UserError(f"{source}: no label column among {column_list(table)}; {advice}")
    return Columns(text, label, _note(text, label, text_guessed, label_guessed))
