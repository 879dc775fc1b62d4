"""Objectives: what is asked of a model for some rows. One file each; which one, the rows themselves say.

A file has `said` (what the model says of rows, a few numbers each, forward only), `loss` (with a graph), `score` (what it is
worth) and `rank` (a pair that is larger where a score is better).
"""

from __future__ import annotations

from types import ModuleType

from proxtune.tasks.classify import Encoded


def objective_of(data: Encoded) -> ModuleType:
    """The module that computes with such rows."""
    from proxtune.objectives import answers, labels

    return answers if data.have_answers else labels


def rank_of(found: dict[str, float]) -> tuple[float, float]:
    """The rank of a score, which says itself whether it is of labels or of answers."""
    from proxtune.objectives import answers, labels

    ranked: tuple[float, float] = (labels if "accuracy" in found else answers).rank(found)
    return ranked
