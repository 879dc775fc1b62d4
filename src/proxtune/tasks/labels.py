"""The classes of a data set, in an order that people expect."""

from __future__ import annotations

from proxtune.examples import Examples


def sorted_labels(examples: Examples) -> list[str]:
    """The classes, numbers in order of size and words in order of the alphabet."""

    def key(label: str) -> tuple[int, float, str]:
        try:
            return (0, float(label), label)
        except ValueError:
            return (1, 0.0, label)

    return sorted(set(examples.labels), key=key)
