"""The confusion matrix, or the worst pairs of many classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.formatting import DASH, amount, number, part, percent, rows, shorten
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Section

_LARGEST_MATRIX = 12  # classes; more do not fit a page, and the worst pairs say it better
_MOST_PAIRS = 20


def confusion(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The confusion matrix with a heat for each cell, or the worst pairs when there are many classes."""
    if rows(result, "confused"):
        return _of_many(result)
    counts = [[number(n) or 0 for n in row] for row in rows(result, "confusion") if isinstance(row, list)]
    if not counts or any(len(row) != len(counts) for row in counts):
        return None
    labels = [shorten(name, 40) for name in rows(part(result, "data"), "labels")]
    labels += [f"class {i}" for i in range(len(labels), len(counts))]
    small = len(counts) <= _LARGEST_MATRIX
    return {
        "labels": labels[: len(counts)],
        "matrix": _matrix(counts, labels) if small else [],
        "pairs": [] if small else _pairs(counts, labels),
        "classes": amount(len(counts)),
    }


def _of_many(result: Mapping[str, Any]) -> dict[str, Any]:
    """The commonest mistakes among so many classes that the result has no matrix."""
    labels = [shorten(name, 40) for name in rows(part(result, "data"), "labels")]
    triples = [[number(n) for n in triple] for triple in rows(result, "confused") if isinstance(triple, list)]
    pairs = [
        {"label": labels[int(i)], "predicted": labels[int(j)], "count": amount(n), "share": DASH}
        for i, j, n in (triple for triple in triples if len(triple) == 3)
        if i is not None and j is not None and n is not None and max(i, j) < len(labels)
    ][:_MOST_PAIRS]
    return {"labels": [], "matrix": [], "pairs": pairs, "classes": amount(len(labels))}


def _matrix(counts: list[list[float]], labels: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "label": labels[i],
            "recall": percent(row[i] / sum(row)) if sum(row) else DASH,
            "total": amount(sum(row)),
            "cells": [
                {"count": amount(n), "heat": round(n / sum(row), 3) if sum(row) else 0, "right": i == j}
                for j, n in enumerate(row)
            ],
        }
        for i, row in enumerate(counts)
    ]


def _pairs(counts: list[list[float]], labels: list[str]) -> list[dict[str, str]]:
    wrong = [(n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n]
    wrong.sort(key=lambda pair: -pair[0])
    return [
        {"label": labels[i], "predicted": labels[j], "count": amount(n), "share": percent(n / sum(counts[i]))}
        for n, i, j in wrong[:_MOST_PAIRS]
    ]


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    return confusion(run.result)


SECTION = Section(name="confusion", title="Confusion matrix", anchor="confusion", values=_values)
