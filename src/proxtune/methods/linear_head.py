"""A classification layer fitted to what a model feeds it: multinomial logistic regression, in the process that holds the model.

The body stays as it is, so each row passes through it once; what follows is a convex problem that L-BFGS settles in seconds. The
probe comes to such a layer, and whatever else trains a new one begins at it: steps from a layer that guesses distort the body
first (Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, ICLR 2022).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.storage.atomic import write_atomic
from proxtune.storage.result import HEAD

STRENGTHS = (0.003, 0.03, 0.3)  # of the data against the penalty, as scikit-learn's C; on standardised features
SOFTENING = 3.0  # of 1, 2, 3 and 10 what half an epoch of banking77 ended best from (docs/decisions.md, 2026-11-29)
_HISTORY, _MOST_ITERATIONS, _TOLERANCE = 10, 200, 1e-4
_LOGITS_AT_A_TIME = 1 << 22
_NEVER = -20.0  # the bias of a class that training never showed
_PASSES = 60  # of the features through the layer, forward and back, for each strength: what L-BFGS was seen to take


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledFeatures:
    """What the last linear layer sees of rows, (rows, width) float32, and their classes, (rows,)."""

    features: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearHead:
    """Weight (classes, width) and bias (classes,) of a last linear layer, float32; and its accuracy on validation rows."""

    weight: np.ndarray
    bias: np.ndarray
    accuracy: float = 0.0


def fitting_bytes(rows: int, width: int, classes: int) -> int:
    """Bytes that a fit to so many rows takes, those of validation counted: features, and what L-BFGS remembers."""
    remembered = (2 * _HISTORY + 8) * classes * (width + 1)
    return 4 * (rows * width + remembered + 3 * min(rows * classes, _LOGITS_AT_A_TIME))


def fitting_flops(rows: int, width: int, classes: int) -> float:
    """Operations that a fit takes, over all strengths of the penalty."""
    return 6.0 * _PASSES * len(STRENGTHS) * rows * width * classes


def fit_head(
    train: LabelledFeatures,
    validation: LabelledFeatures,
    *,
    classes: int,
    has_bias: bool,
    known: LinearHead | None = None,
) -> LinearHead:
    """The layer that is right most often on `validation`, of those fitted to `train` at several strengths of the penalty.

    For weight W and bias b, min over W, b of mean cross-entropy(W x + b, y) + ‖W‖² / (2 C rows), x standardised by the mean and
    the deviation of `train`.

    Parameters
    ----------
    classes
        How many there are; one that `train` never shows is never chosen.
    has_bias
        Whether the layer has one; without it features are scaled and not shifted.
    known
        A layer that knows something already (a decoder's rows for the labels' words, or a classifier's own). It stays where no
        fit is right more often.

    Examples
    --------
    >>> rows = LabelledFeatures(features=np.float32([[1, 0], [2, 0], [0, 1], [0, 2]]), labels=np.array([0, 0, 1, 1]))
    >>> head = fit_head(rows, rows, classes=2, has_bias=True)
    >>> head.accuracy
    1.0
    """
    best = None if known is None else _scored(known.weight, known.bias, validation)
    shown = np.unique(train.labels)
    for weight, bias in _fits(train, shown, has_bias):
        weights = np.zeros((classes, train.features.shape[1]), dtype=np.float32)
        biases = np.full(classes, _NEVER, dtype=np.float32)
        weights[shown], biases[shown] = weight, bias
        found = _scored(weights, biases, validation)
        if best is None or found.accuracy > best.accuracy:
            best = found
    assert best is not None, "there are strengths to try"
    return best


def _scored(weight: np.ndarray, bias: np.ndarray, rows: LabelledFeatures) -> LinearHead:
    chosen = (rows.features @ weight.T + bias).argmax(1)
    return LinearHead(weight=weight, bias=bias, accuracy=float((chosen == rows.labels).mean()))


def _fits(rows: LabelledFeatures, shown: np.ndarray, has_bias: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weight and bias for the classes `shown` at each strength, each fit beginning where the one before ended."""
    import torch

    features = torch.from_numpy(rows.features)
    targets = torch.from_numpy(np.searchsorted(shown, rows.labels))
    deviation = features.std(0, correction=0) + 1e-6
    mean = features.mean(0) if has_bias else torch.zeros_like(deviation)
    standard_weight = torch.zeros(len(shown), features.shape[1], requires_grad=True)  # of standardised features
    standard_bias = torch.zeros(len(shown), requires_grad=has_bias)
    at_a_time = max(1, _LOGITS_AT_A_TIME // len(shown))

    def layer() -> tuple[Any, Any]:
        """The same of features as they are: of these there is no second, standardised copy."""
        weight = standard_weight / deviation
        return weight, standard_bias - weight @ mean

    def loss(strength: float) -> Any:
        total = 0.0
        for begin in range(0, len(targets), at_a_time):
            weight, bias = layer()
            logits = features[begin : begin + at_a_time] @ weight.T + bias
            part = torch.nn.functional.cross_entropy(logits, targets[begin : begin + at_a_time], reduction="sum")
            (part / len(targets)).backward()
            total += part.item() / len(targets)
        penalty = standard_weight.square().sum() / (2 * strength * len(targets))
        penalty.backward()
        return torch.tensor(total + penalty.item())

    for strength in STRENGTHS:
        optimizer = torch.optim.LBFGS(
            [standard_weight, standard_bias] if has_bias else [standard_weight],
            max_iter=_MOST_ITERATIONS, history_size=_HISTORY, tolerance_grad=_TOLERANCE, line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure(strength: float = strength, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            return loss(strength)

        optimizer.step(closure)
        with torch.no_grad():
            weight, bias = layer()
        yield weight.numpy(), bias.numpy()


def features_of(model: Any, passes: Iterable[tuple[np.ndarray, Any]], lengths: np.ndarray) -> np.ndarray:
    """What the last linear layer sees: (rows, width) float32. Each of `passes` is (row numbers, logits), just made.

    `lengths` are the tokens of each row.
    """
    import torch

    from proxtune.models.introspection import head_of

    _, head = head_of(model)
    seen: list[Any] = []
    hook = head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    out = np.empty((len(lengths), head.in_features), dtype=np.float32)
    try:
        for numbers, _ in passes:
            found = seen[-1].float()  # (rows, width), or (rows, length, width) for decoders
            seen.clear()
            if found.dim() == 3 and found.shape[1] == 1:  # of the one query that sums a row up
                found = found[:, 0]
            elif found.dim() == 3:
                found = found[torch.arange(len(found)), torch.from_numpy(lengths[numbers] - 1)]
            out[numbers] = found.cpu().numpy()
            del found  # a small tensor that stays would keep the heap around it apart
    finally:
        hook.remove()
    return out


def head_at_hand(model: Any) -> LinearHead:
    """The last linear layer that the model has now."""
    from proxtune.models.introspection import head_of

    _, head = head_of(model)
    weight = head.weight.detach().float().cpu().numpy().copy()
    bias = np.zeros(len(weight), dtype=np.float32) if head.bias is None else head.bias.detach().float().cpu().numpy()
    return LinearHead(weight=weight, bias=bias.copy())


def install_head(model: Any, head: LinearHead) -> None:
    """Put a fitted layer in the place of the model's last linear one; a layer without bias takes none."""
    import torch

    from proxtune.models.introspection import head_of

    _, layer = head_of(model)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(head.bias))


def soften_head(model: Any) -> None:
    """Divide the logits of a fitted layer by `SOFTENING`: the same answers, less sure of them.

    A fitted layer is at its optimum, where gradients are noise, of which an optimizer that scales them makes whole steps. Below
    it they agree on a direction, and the body learns in it.
    """
    import torch

    from proxtune.models.introspection import head_of, without_adapters

    _, layer = head_of(without_adapters(model))
    with torch.no_grad():
        layer.weight.div_(SOFTENING)
        if layer.bias is not None:
            layer.bias.div_(SOFTENING)


def save_head(folder: Path, head: LinearHead) -> None:
    """Write `head.npz`, whole or not at all."""

    def fill(place: Path) -> None:
        with place.open("wb") as file:  # given a name, numpy would add another ending
            np.savez(file, allow_pickle=False, weight=head.weight, bias=head.bias)

    write_atomic(folder / HEAD, fill)


def load_head(folder: Path) -> LinearHead:
    """What `save_head` wrote."""
    with np.load(folder / HEAD, allow_pickle=False) as arrays:
        return LinearHead(weight=arrays["weight"], bias=arrays["bias"])
