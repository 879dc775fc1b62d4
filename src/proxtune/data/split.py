"""Rows to train on and validation rows, the same for the same seed; every class, or every conversation, whole."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from heapq import heapify, heapreplace
from random import Random

from proxtune.data.examples import Examples, Pairs, Rows, Split
from proxtune.data.labels import ClassNumbers
from proxtune.errors import UserError

VALIDATION_PARTS = 10  # one row in ten
VALIDATION_ROWS = 2_000  # more would cost time and hardly sharpen the evaluation: at 2,000 a proportion is within ±2 %


def select_examples(examples: Examples, indices: Sequence[int]) -> Examples:
    """The rows at `indices`, in that order."""
    return replace(
        examples,
        texts=[examples.texts[i] for i in indices],
        labels=[examples.labels[i] for i in indices] if examples.labels else [],
        lines=[examples.lines[i] for i in indices],
        second_texts=[examples.second_texts[i] for i in indices] if examples.second_texts else [],
    )


def _rows_by_class(labels: list[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        rows.setdefault(label, []).append(place)
    return dict(sorted(rows.items()))  # the order in which classes turn up must not move the draw


def check_labels(examples: Examples) -> None:
    """Raises UserError where there is nothing to tell apart, or where the labels are no classes."""
    if not examples.labels:
        raise UserError(f"{examples.source}: no label column; name it with --label-column")
    classes = set(examples.labels)
    column = examples.label_column
    if len(classes) == 1:
        only = next(iter(classes))
        raise UserError(f"{examples.source}: one class only, {only!r} in {column!r}; add rows of another class")
    if len(classes) > 2 and 2 * len(classes) > len(examples):
        problem = f"column {column!r} has {len(classes):,} different labels in {len(examples):,} rows"
        advice = "which looks like a regression or free-text column; name a column of classes with --label-column"
        raise UserError(f"{examples.source}: {problem}, {advice}")


def _shares(rows: dict[str, list[int]]) -> dict[str, int]:
    total = sum(map(len, rows.values()))
    capped = total > VALIDATION_PARTS * VALIDATION_ROWS

    def share(count: int) -> int:
        part = count * VALIDATION_ROWS // total if capped else count // VALIDATION_PARTS
        return max(1, part) if count >= 2 else 0

    shares = {label: share(len(places)) for label, places in rows.items()}
    excess = sum(shares.values()) - VALIDATION_ROWS  # the many small classes' one row each can exceed the cap
    waiting = [(-count, place, label) for place, (label, count) in enumerate(shares.items())]
    heapify(waiting)
    for _ in range(excess):
        less, place, label = waiting[0]
        shares[label] -= 1
        heapreplace(waiting, (less + 1, place, label))  # the first of equals, as in the order of the labels
    return shares


def _given(train: Examples, validation: Examples) -> Split[Examples]:
    check_labels(train)
    if not len(validation):
        raise UserError(f"{validation.source}: it has no rows; give a validation file with rows")
    if not validation.labels:
        raise UserError(f"{validation.source}: it has no labels; name the column with --label-column")
    known = ClassNumbers(sorted(set(train.labels)))
    for label, line in zip(validation.labels, validation.lines, strict=True):
        if known.find(label) is None:
            why = f"label {label!r} (line {line}) is nowhere in {train.source}"
            raise UserError(f"{validation.source}: {why}; use the same labels in both")
    return _told_of_examples(Split(train, validation, _given_note(train, validation)))


def _told_of_examples(split: Split[Examples]) -> Split[Examples]:
    return _told(split, _texts(split.train), list(_texts(split.validation)))


def _texts(rows: Examples) -> Iterable[Hashable]:
    return rows.texts if rows.second_column is None else zip(rows.texts, rows.second_texts, strict=True)


def _told(split: Split[Rows], train: Iterable[Hashable], validation: Sequence[Hashable]) -> Split[Rows]:
    """The split, with a word where validation rows are training rows as well: scores on those say little of new ones."""
    both = set(validation).intersection(train)  # a set of the fewer: there may be millions to train on
    count = sum(row in both for row in validation)
    if not count:
        return split
    are = "1 validation row is a training row" if count == 1 else f"{count:,} validation rows are training rows"
    return replace(split, note=f"{split.note}; {are} too, letter by letter: scores on those say little of new rows")


def _given_note(train: Examples | Pairs, validation: Examples | Pairs) -> str:
    """What is said of validation rows that were given, with how they were read where that is another way."""
    told = [note for note in validation.notes if note not in train.notes]
    return f"validation: all of {validation.source}, {len(validation):,} rows" + (
        f" ({'; '.join(told)})" if told else ""
    )


def split_examples(examples: Examples, validation: Examples | None = None, seed: int = 0) -> Split[Examples]:
    """One row in ten of each class, at least one and at most 2,000 in all, for validation; or `validation` as given.

    Both parts keep file order. Raises UserError for labels that cannot be learned.
    """
    if validation is not None:
        return _given(examples, validation)
    check_labels(examples)
    rows = _rows_by_class(examples.labels)
    shares = _shares(rows)
    random = Random(seed)
    validation_rows = sorted(place for label, places in rows.items() for place in random.sample(places, shares[label]))
    if not validation_rows:
        advice = "add rows, or give a validation file"
        raise UserError(f"{examples.source}: one row in each class leaves none for validation; {advice}")
    apart = set(validation_rows)
    kept = [place for place in range(len(examples)) if place not in apart]
    note = f"validation: {len(validation_rows):,} of {len(examples):,} rows, drawn by class with seed {seed}"
    unjudged = [label for label, count in shares.items() if not count]
    if unjudged:
        shown = ", ".join(map(repr, unjudged[:5])) + (", ..." if len(unjudged) > 5 else "")
        note += f"; used for training only, because they have too few rows: {shown}"
    return _told_of_examples(Split(select_examples(examples, kept), select_examples(examples, validation_rows), note))


VALIDATION_PAIRS = 200  # a row of text says much, and each takes time: the loss is within a few percent


def select_pairs(pairs: Pairs, indices: Sequence[int]) -> Pairs:
    """The rows at `indices`, in that order."""
    return replace(
        pairs,
        prompts=[pairs.prompts[i] for i in indices],
        answers=[pairs.answers[i] for i in indices] if pairs.answers else [],
        lines=[pairs.lines[i] for i in indices],
    )


def split_pairs(pairs: Pairs, validation: Pairs | None = None, seed: int = 0) -> Split[Pairs]:
    """One row in ten, at least one and at most 200, for validation; or `validation` as given.

    Rows of one line, which are one conversation, stay together, so that a few more are held out where every conversation is
    longer than that. Both parts keep file order. Raises UserError for rows that cannot be used.
    """
    for part in (pairs, validation):
        if part is not None and not part.answers:
            raise UserError(f"{part.source}: no answers; name their column with --label-column")
    if validation is not None:
        return _told_of_pairs(Split(pairs, validation, _given_note(pairs, validation)))
    counts: dict[int, int] = {}
    for line in pairs.lines:
        counts[line] = counts.get(line, 0) + 1
    if len(counts) < 2:
        raise UserError(f"{pairs.source}: one row leaves none for validation; add rows, or give a validation file")
    validation_lines = _draw(counts, min(VALIDATION_PAIRS, max(1, len(pairs) // VALIDATION_PARTS)), seed)
    validation_rows = [place for place, line in enumerate(pairs.lines) if line in validation_lines]
    kept = [place for place, line in enumerate(pairs.lines) if line not in validation_lines]
    note = f"validation: {len(validation_rows):,} of {len(pairs):,} rows, drawn with seed {seed}"
    return _told_of_pairs(Split(select_pairs(pairs, kept), select_pairs(pairs, validation_rows), note))


def _told_of_pairs(split: Split[Pairs]) -> Split[Pairs]:
    train, validation = (
        zip(part.prompts, part.answers, strict=True) for part in (split.train, split.validation)
    )  # a question may well come again with another answer
    return _told(split, train, list(validation))


def _draw(counts: dict[int, int], wanted: int, seed: int) -> set[int]:
    """Lines of `wanted` rows in all or a little less; if every line has more, one of the shortest."""
    order = Random(seed).sample(list(counts), len(counts))
    drawn: set[int] = set()
    rows = 0
    for line in order:
        if rows + counts[line] <= wanted:
            drawn.add(line)
            rows += counts[line]
        if rows == wanted:
            break
    return drawn or {min(order, key=counts.__getitem__)}
