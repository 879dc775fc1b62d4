"""Labels as people spell them: one class for each meaning, and the same class in another file.

The rule: labels that differ only in case, in spaces, in marks that cannot be seen, or in a `.0` behind a whole number are one,
spelled as most rows spell it. So are `true` and `1`, `false` and `0` where a column holds no other labels. Others are told apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from proxtune.data.values import without_marks

_WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0+\Z")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?\Z", re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?\d+([.,]0*)?\Z")
_MANY_FRACTIONS = 3  # labels: two of them may well be the names of classes
_TRUTH = {"true": "1", "false": "0"}
_MISSING = {"nan", "NaN", "NAN", "null", "NULL", "None", "NA", "N/A", "n/a", "#N/A", "<NA>"}
_SHOWN = 5  # spellings in a message


def label_key(label: str) -> str:
    """What labels of one class have in common."""
    key = " ".join(without_marks(unicodedata.normalize("NFC", label)).casefold().split())
    number = _WHOLE_NUMBER.match(key)
    return number[1] if number else key


def join_labels(labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """The labels, one spelling for each class; and the notes on what was joined, or may have been meant otherwise."""
    counts = Counter(labels)
    keys = _keys(counts)
    spelled: dict[str, str] = {}
    usual = [label for label, _ in counts.most_common()]  # of equals the first in the file
    for label in sorted(
        usual, key=lambda label: without_marks(label) != label
    ):  # and one that shows all there is before all
        spelled.setdefault(keys[label], label)
    others = [label for label in counts if spelled[keys[label]] != label]
    notes = []
    if others:
        told = [f"{label!r} ({counts[label]:,}) as {spelled[keys[label]]!r}" for label in others[:_SHOWN]]
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        notes.append(f"labels that differ only in how they are written are one: {', '.join(told)}{more}")
    missing = [label for label in counts if label in _MISSING]
    if missing:
        told = [f"{label!r} ({counts[label]:,} rows)" for label in missing]
        notes.append(f"label {', '.join(told)} is kept as a class; if it means that there is none, empty those cells")
    return [spelled[keys[label]] for label in labels] if others else list(labels), notes


def number_notes(labels: Sequence[str]) -> list[str]:
    """The note where all labels are numbers and many have a fraction, as what a regression learns: here they are classes."""
    classes = dict.fromkeys(labels)
    numbers = [label for label in classes if _NUMBER.match(label)]
    fractions = [label for label in numbers if not _WHOLE.match(label)]
    if len(numbers) < len(classes) or len(fractions) < _MANY_FRACTIONS:
        return []
    told = ", ".join(map(repr, fractions[:_SHOWN])) + (", ..." if len(fractions) > _SHOWN else "")
    return [
        f"the labels are numbers with fractions ({told}): they are learned as {len(classes):,} classes, not as numbers, "
        "and an answer that is nearly right counts as wrong"
    ]


def _keys(labels: Iterable[str]) -> dict[str, str]:
    keys = {label: label_key(label) for label in labels}
    there = set(keys.values())
    if there & set(_TRUTH) and there & set(_TRUTH.values()) and there <= {*_TRUTH, *_TRUTH.values()}:
        return {label: _TRUTH.get(key, key) for label, key in keys.items()}
    return keys


class ClassNumbers:
    """The number of each class, by any spelling of its label. State: the spellings met so far."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._numbers: dict[str, int | None] = {label: number for number, label in enumerate(classes)}
        self._by_key: dict[str, int | None] = {}
        for number, label in enumerate(classes):
            key = label_key(label)
            self._by_key[key] = None if key in self._by_key else number  # two classes, told apart by spelling alone
        if set(self._by_key) <= set(_TRUTH):
            self._by_key |= {_TRUTH[key]: number for key, number in self._by_key.items()}
        elif set(self._by_key) <= set(_TRUTH.values()):
            self._by_key |= {key: self._by_key.get(number) for key, number in _TRUTH.items()}

    def find(self, label: str) -> int | None:
        """The class of `label`; None where it is none of them."""
        if label not in self._numbers:
            self._numbers[label] = self._by_key.get(label_key(label))
        return self._numbers[label]
