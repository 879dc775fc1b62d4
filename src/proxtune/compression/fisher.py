"""What a change of a weight costs: the diagonal of the Fisher information, from a few batches.

Near a minimum the loss grows by ½ Σ_i F_i (x_i - y_i)² when the weights go from x to y, with F_i the mean square of the loss's
derivative by weight i (LeCun, Denker and Solla 1990; Kunstner et al. 2019 on what this leaves out). The square is taken of a
batch's gradient: over rows of their own it is F, and over batches of n rows about F/n, for all weights alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from proxtune.feasible.allocation import Choice
from proxtune.feasible.base import FeasibleSet

Batch = TypeVar("Batch")


def diagonal_fisher(
    parameters: Mapping[str, Tensor], loss_of: Callable[[Batch], Tensor], batches: Iterable[Batch], by_row: bool = False
) -> dict[str, Tensor]:
    """The mean square of each parameter's derivative, float32 in its shape; with `by_row` its mean over a row, (rows, 1, …).

    A gradient is squared and dropped as soon as it is there, so that beside the result only one tensor's is held at a time.
    Gradients that the parameters hold already are lost. `loss_of` gives the loss of a batch, the mean over its rows.
    """
    learn = {name: parameter.requires_grad for name, parameter in parameters.items()}
    squares = {name: _nothing_yet(parameter, by_row) for name, parameter in parameters.items()}
    hooks = []
    for name, parameter in parameters.items():
        parameter.requires_grad_(True).grad = None
        hooks.append(parameter.register_post_accumulate_grad_hook(_take(squares[name])))
    count = 0
    try:
        for batch in batches:
            with torch.enable_grad():
                loss_of(batch).backward()
            count += 1
    finally:
        for hook in hooks:
            hook.remove()
        for name, parameter in parameters.items():
            parameter.requires_grad_(learn[name]).grad = None
    return {name: square.div_(max(1, count)) for name, square in squares.items()}


def weighted_distance(x: Tensor, y: Tensor, fisher: Tensor) -> float:
    """Σ F_i (x_i - y_i)²; `fisher` of x's shape, or one for each row."""
    return float(((x.detach().float() - y.detach().float()).square_() * fisher).sum(dtype=torch.float64))


def choices_of(x: Tensor, sets: Mapping[str, FeasibleSet], fisher: Tensor) -> list[Choice]:
    """For each set that takes x, by name, what it would take and cost to be its nearest member."""
    return [
        Choice(name, own.bytes(x.shape), weighted_distance(x, own.nearest(x), fisher))
        for name, own in sets.items()
        if own.fits(x.shape)
    ]


def _nothing_yet(parameter: Tensor, by_row: bool) -> Tensor:
    shape = parameter.shape if not by_row or parameter.dim() < 2 else (len(parameter), *[1] * (parameter.dim() - 1))
    return torch.zeros(shape, device=parameter.device)


def _take(square: Tensor) -> Callable[[Tensor], None]:
    """Adds a gradient's squares when it is there, and drops it."""

    def take(parameter: Tensor) -> None:
        assert parameter.grad is not None
        own = parameter.grad.float().square_()  # which nobody else will read
        square.add_(own if own.shape == square.shape else own.flatten(1).mean(1).view(square.shape))
        parameter.grad = None

    return take
