"""make bench-archive: NNO with and without the points that it has seen before, at as many evaluations.

Functions that optimizers are tested with, and a logistic regression on the film reviews: its inputs are the d most telling
words by TF-IDF, its batches 16 rows, and the loss on `test.csv` is what counts. Every way begins at the same place with the
same seeds, and its steps shrink to nothing at the last evaluation. A step of "nearest" takes K + 1 evaluations, one of
"estimate" one more.

    --seeds 5
    --evaluations 3000
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from torch import Tensor

from harness import table, write_record
from proxtune.optim.nno import NNO
from proxtune.optim.points import Points
from proxtune.samples import movies_path
from proxtune.tasks.classification.reader import read_examples

ROWS = 16


@dataclass(frozen=True)
class Problem:
    """`loss(places, step)` of some places (count, d) on the rows of a step, and `evaluate` of one place (d,)."""

    start: Tensor
    loss: Callable[[Tensor, int], Tensor]
    evaluate: Callable[[Tensor], float]


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--seeds", type=int, default=5)
    words.add_argument("--evaluations", type=int, default=3000)
    asked = words.parse_args()
    ways: dict[str, dict[str, Any]] = {
        "estimate, K = 16": {"rule": "estimate", "neighbours": 16},
        "estimate": {"rule": "estimate"},
        "nearest": {"rule": "nearest"},
    }
    rows, headline = [], {}
    for name, problem in _problems().items():
        found = {
            way: [_end(problem, seed, asked.evaluations, **options) for seed in range(asked.seeds)]
            for way, options in ways.items()
        }
        headline[name] = {way: float(f"{statistics.median(own):.3g}") for way, own in found.items()}
        told = [f"{statistics.median(own):.3g} ({min(own):.2g} to {max(own):.2g})" for own in found.values()]
        rows.append([name, f"{problem.evaluate(problem.start):.3g}", *told])
        print(rows[-1], flush=True)
    body = f"{asked.evaluations:,} evaluations, {asked.seeds} seeds, median (least to most) of the last value.\n\n"
    write_record(
        "archive", "Points seen before, with and without", body + table(["what", "start", *ways], rows), headline
    )


def _end(problem: Problem, seed: int, evaluations: int, **options: Any) -> float:
    points = Points([problem.start])
    nno = NNO(points, seed=seed, **options)
    steps = evaluations // (nno.neighbours + (1 if nno.rule == "nearest" else 2))
    for step in range(steps):
        nno.step(
            torch.zeros(1),
            points,
            lambda place, _, step=step: problem.loss(place, 1000 * seed + step),
            share=1 - step / steps,
        )
    return problem.evaluate(points.place.detach())


def _problems() -> dict[str, Problem]:
    found = {
        f"sphere, d = {d}, curvatures 1 to {most}": _function(torch.ones(d), _bowl(d, most))
        for d, most in ((2, 1), (10, 100), (100, 10), (250, 10))
    }
    for d in (2, 20):
        start = torch.ones(d)
        start[::2] = -1.2
        found[f"Rosenbrock, d = {d}"] = _function(start, _rosenbrock)
    found |= {f"film reviews, d = {d}": _reviews(d) for d in (20, 50, 200, 1000)}
    return found


def _function(start: Tensor, value: Callable[[Tensor], Tensor]) -> Problem:
    return Problem(
        start, lambda places, step: value(places.double())[0], lambda place: float(value(place.double()[None]))
    )


def _bowl(d: int, most: float) -> Callable[[Tensor], Tensor]:
    curvature = torch.logspace(0, float(np.log10(most)), d, dtype=torch.float64)
    return lambda x: 0.5 * (curvature * x**2).sum(1)


def _rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(1)


def _reviews(d: int) -> Problem:
    train, test = (read_examples(str(movies_path(name))) for name in ("train", "test"))
    words, best = TfidfVectorizer(sublinear_tf=True), SelectKBest(chi2, k=d)
    inputs = best.fit_transform(words.fit_transform(train.texts), train.labels).toarray()
    evaluated = best.transform(words.transform(test.texts)).toarray()
    x, x_test = (torch.tensor(own / inputs.std(0), dtype=torch.float32) for own in (inputs, evaluated))
    y, y_test = (torch.tensor([2.0 * (label == "positive") - 1 for label in own.labels]) for own in (train, test))

    def loss(x: Tensor, y: Tensor, place: Tensor) -> Tensor:
        return torch.nn.functional.softplus(-y * (x @ place)).mean()

    def on_rows(places: Tensor, step: int) -> Tensor:
        few = np.random.default_rng(step).integers(0, len(x), ROWS)
        return loss(x[few], y[few], places[0])

    return Problem(torch.zeros(d), on_rows, lambda place: float(loss(x_test, y_test, place)))


if __name__ == "__main__":
    main()
