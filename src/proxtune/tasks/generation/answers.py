"""Several answers in one cell: a list of texts, or SQuAD's object with such a list."""

from __future__ import annotations

from proxtune.data.values import is_blank


def several_answers(cell: object) -> list[str] | None:
    """The texts in a cell, each once; None for a cell that is no list of texts.

    Examples
    --------
    >>> several_answers({"text": ["Denver", "Denver", "the Broncos"], "answer_start": [3, 3, 9]})
    ['Denver', 'the Broncos']
    """
    if isinstance(cell, dict) and isinstance(cell.get("text"), list):
        cell = cell["text"]
    if not isinstance(cell, list) or not cell:
        return None
    texts = [text for text in cell if isinstance(text, str) and not is_blank(text)]
    return list(dict.fromkeys(texts)) if len(texts) == len(cell) else None
