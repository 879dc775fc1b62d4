"""Rows of text generation to learn from, and rows to judge by: no conversation in both, the same for the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from proxtune.data.split import VALIDATION_PARTS
from proxtune.errors import PersonError
from proxtune.examples import Pairs, Split

VALIDATION_PAIRS = 200  # a row of text says much, and each takes time: the loss is within a few percent


def take_pairs(pairs: Pairs, indices: Sequence[int]) -> Pairs:
    """The rows at `indices`, in that order."""
    return replace(
        pairs,
        asked=[pairs.asked[i] for i in indices],
        answers=[pairs.answers[i] for i in indices] if pairs.answers else [],
        lines=[pairs.lines[i] for i in indices],
    )


def split_pairs(pairs: Pairs, validation: Pairs | None = None, seed: int = 0) -> Split[Pairs]:
    """One row in ten, at least one and at most 200, to judge by; or `validation` as given.

    Rows of one line, which are one conversation, stay together, so that a few more are held out where every conversation is
    longer than that. Both parts keep file order. Raises PersonError for rows that cannot be learnt from or judged by.
    """
    for part in (pairs, validation):
        if part is not None and not part.answers:
            raise PersonError(f"{part.source}: no answers; name their column with --label-column")
    if validation is not None:
        return Split(pairs, validation, f"validation: all of {validation.source}, {len(validation):,} rows")
    counts: dict[int, int] = {}
    for line in pairs.lines:
        counts[line] = counts.get(line, 0) + 1
    if len(counts) < 2:
        raise PersonError(f"{pairs.source}: one row leaves none to judge by; add rows, or give a validation file")
    held_lines = _draw(counts, min(VALIDATION_PAIRS, max(1, len(pairs) // VALIDATION_PARTS)), seed)
    held = [place for place, line in enumerate(pairs.lines) if line in held_lines]
    kept = [place for place, line in enumerate(pairs.lines) if line not in held_lines]
    note = f"validation: {len(held):,} of {len(pairs):,} rows, drawn with seed {seed}"
    return Split(take_pairs(pairs, kept), take_pairs(pairs, held), note)


def _draw(counts: dict[int, int], wanted: int, seed: int) -> set[int]:
    """Lines of `wanted` rows in all or a little less; if every line has more, one of the shortest."""
    order = Random(seed).sample(list(counts), len(counts))
    held: set[int] = set()
    rows = 0
    for line in order:
        if rows + counts[line] <= wanted:
            held.add(line)
            rows += counts[line]
        if rows == wanted:
            break
    return held or {min(order, key=counts.__getitem__)}
