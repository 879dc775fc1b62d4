"""What the files become: texts with labels, and a word on how they were read."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows in file order. `labels` are the file's own words ("positive", "3"); empty when there is no label column.

    `source` is the path as the person gave it and `lines[i]` the line (or 1-based row) where row i begins there.
    """

    texts: list[str]
    labels: list[str]
    source: str
    lines: list[int]
    text_column: str
    label_column: str | None
    notes: list[str] = field(default_factory=list)  # what was guessed, in words to show

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to learn from and rows to judge by, as indices into one `Examples` each."""

    train: Examples
    validation: Examples
    note: str  # how the split was made, in words to show
