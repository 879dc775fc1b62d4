"""NNO: look at points near θ in one batched forward pass, and move by what they say. No gradient, no optimizer state.

A step evaluates θ itself and K neighbours θ + ε·Δₖ on the same rows, and moves

    θ ← θ − (η / K) Σₖ gₖ Δₖ,     gₖ = (Lₖ − mean L) / deviation of L     rule "estimate"
    θ ← θ + ε Δ_best              where the best neighbour beats θ        rule "greedy"
    θ ← θ − η · slope             of the nearest of all points seen       rule "nearest"

The last is for few weights (`optim/archive.py`). ε tunes itself and η goes with it (`optim/step_sizes.py`). What a step of the
first two did is seen one step later, on rows that it did not learn from, for the price of one more part in the batch: the point
before the move. A step that did harm there is taken back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from proxtune.errors import UserError
from proxtune.optim.archive import Archive, dimensions_of
from proxtune.optim.neighbours import Directions, Point, View, directions, evaluated_at
from proxtune.optim.sites import sites_of
from proxtune.optim.step_record import MOVING, StepRecord, as_float32
from proxtune.optim.step_sizes import Sizes, first_spread, harmful
from proxtune.optim.update import apply_record, moves_of

Forward = Callable[[Any], Any]
Objective = Callable[[Any, Any], Any]
_FEWEST, _MANY = 4, 16  # neighbours
_FEW_DIMENSIONS, _MOST_DIMENSIONS = 256, 2048  # for which points are kept unasked, and at all
_MOST_REJECTED = 10  # steps one after another, before there is no sense in going on


class NNO:
    """Neighbourhood search for the weights of a model: train without gradients.

    The rule "estimate" is an evolution-strategies step, θ ← θ − (η / K) Σₖ gₖ Δₖ with standardised losses gₖ (Salimans et al.:
    Evolution Strategies as a Scalable Alternative to Reinforcement Learning, 2017); directions are drawn again from the seed
    instead of being stored (Malladi et al.: Fine-Tuning Language Models with Just Forward Passes, NeurIPS 2023).

    Parameters
    ----------
    model
        A torch module. The weights with `requires_grad`, in float32 or bfloat16, are searched.
    neighbours
        K, the points that a step looks at: √(2d) for d weights, but four to sixteen, if None.
    spread
        ε, the distance of a neighbour, in units of a weight; found and tuned if None.
    rate
        η, the length of a step; tuned with ε if None.
    rule
        "estimate", "greedy" or "nearest"; "nearest" for at most 256 weights, else "estimate", if None.
    seed
        Seed of the directions.
    at_a_time
        Points in one forward pass; all of them if None. Fewer take less memory.

    Raises
    ------
    ValueError, TypeError
        If the model or a number cannot be used.

    Examples
    --------
    >>> import torch
    >>> from proxtune import NNO
    >>> model = torch.nn.Linear(4, 2)
    >>> rows, labels = torch.eye(4), torch.tensor([0, 1, 0, 1])
    >>> loss = torch.nn.functional.cross_entropy
    >>> nno = NNO(model, seed=1)
    >>> before = loss(model(rows), labels).item()
    >>> for _ in range(50):
    ...     record = nno.step((rows, labels), lambda batch: model(batch[0]), lambda out, batch: loss(out, batch[1]))
    >>> loss(model(rows), labels).item() < before
    True
    """

    def __init__(
        self,
        model: Any,
        *,
        neighbours: int | None = None,
        spread: float | None = None,
        rate: float | None = None,
        rule: str | None = None,
        seed: int = 0,
        at_a_time: int | None = None,
    ) -> None:
        if neighbours is not None and neighbours < 2:
            raise ValueError(f"neighbours={neighbours}: points are compared with one another, give 2 or more")
        if rule not in (None, *MOVING):
            raise ValueError(f"unknown rule {rule!r}; choose {', '.join(MOVING)}, or none")
        if at_a_time is not None and at_a_time < 1:
            raise ValueError(f"at_a_time={at_a_time}: give 1 or more")
        for name, size in (("spread", spread), ("rate", rate)):
            if size is not None and not (size > 0 and math.isfinite(size)):
                raise ValueError(f"{name}={size}: give a number above zero, or none, and it is found")
        self.sites = sites_of(model)
        dimensions = dimensions_of(self.sites)
        self.neighbours = neighbours or max(_FEWEST, min(_MANY, round(math.sqrt(2 * dimensions))))
        self.rule = rule or ("nearest" if dimensions <= _FEW_DIMENSIONS else "estimate")
        if self.rule == "nearest" and dimensions > _MOST_DIMENSIONS:
            raise ValueError(
                f"rule='nearest' is for {_MOST_DIMENSIONS} weights at most, {dimensions} learn; use estimate"
            )
        self.archive = Archive(dimensions) if self.rule == "nearest" else None
        self.seed, self.at_a_time = seed, at_a_time
        points = self.archive.nearest if self.archive else self.neighbours
        first = spread or first_spread(self.sites)
        self.sizes = Sizes.initial(first, rate, points, dimensions, tune_spread=spread is None)
        self.steps = 0
        self.model = model
        self._last: StepRecord | None = None  # the step that led here, if it moved
        self._behind: list[Point] = []  # the point that it left
        self._rejected_in_a_row = 0

    def step(
        self, batch: Any, forward: Forward, objective: Objective, number: int = 0, share: float = 1.0
    ) -> StepRecord:
        """Evaluate the neighbours on a batch, and move.

        Parameters
        ----------
        batch
            Tensors with rows first, in a tuple, a list or a dict.
        forward
            `forward(batch)` returns outputs with rows first, for a batch in which the rows come once for each point.
        objective
            `objective(outputs, batch)` is what to minimize for one point's outputs: a loss, or a metric with a minus sign.
        number
            The batch's number, for the record.
        share
            Share of η. Where the number of steps is known, let it fall from one to zero.

        Returns
        -------
        StepRecord
            What was done: `replay` repeats it without a forward pass.

        Raises
        ------
        UserError
            After ten steps in a row with a loss that is not finite. Such a step leaves θ alone.
        """
        _refuse_dropout(self.model)
        trust = self.archive.trust(self.neighbours) if self.archive and self.sizes.tune_ratio else 1.0
        spread, rate = as_float32([self.sizes.spread, share * trust * self.sizes.rate])
        ways = directions(self.sites, self.seed, self.steps, self.neighbours)
        values = as_float32(self._look(ways, spread, batch, forward, objective))
        losses, centre = values[: self.neighbours], values[self.neighbours]
        before = values[-1] if self._behind else None
        rule = self._rule(losses, centre, before)
        record = StepRecord(
            step=self.steps,
            seed=self.seed,
            batch=number,
            spread=spread,
            rate=rate,
            rule=rule,
            centre=centre,
            losses=tuple(losses),
        )
        apply_record(self.sites, record, self._last, self.archive, ways)
        self._follow(record)
        self._behind = [_point_before(record, ways)] if self._last else []
        if self._rejected_in_a_row >= _MOST_REJECTED:
            raise UserError(
                f"{_MOST_REJECTED} steps in a row had losses that are not finite; look at the objective and the data, or "
                "begin with a smaller spread"
            )
        return record

    def again(self, records: Sequence[StepRecord], applied: int = 0) -> None:
        """Do again, without a forward pass, what the records of all steps from the first say, and be ready for the next.

        The first `applied` of them are in the weights already. Raises ValueError for records that do not follow one another,
        and where a slope through the nearest points needs all of them to be done again.
        """
        if any(record.step != number or record.seed != self.seed for number, record in enumerate(records)):
            raise ValueError("the records are not those of all steps from the first, by this seed")
        if applied and self.archive is not None:
            raise ValueError("with few weights the points that were seen count too: do all steps again")
        for record in records:
            if record.step >= applied:
                apply_record(self.sites, record, self._last, self.archive)
            self._follow(record)
        if self._last is not None:
            ways = directions(self.sites, self.seed, self._last.step, len(self._last.losses))
            self._behind = [_point_before(self._last, ways)]

    def _follow(self, record: StepRecord) -> None:
        """What the search knows after a step, from its record alone."""
        self._last = record if record.rule in MOVING and self.archive is None else None
        self.sizes = self.sizes.after(record)
        self.steps += 1
        self._rejected_in_a_row = self._rejected_in_a_row + 1 if record.rule == "rejected" else 0

    def _look(self, ways: Directions, spread: float, batch: Any, forward: Forward, objective: Objective) -> list[float]:
        """Losses of the neighbours, of θ, and of the point before the last step if there was one."""
        view = View(ways=ways, spread=spread, first=0, count=self.neighbours, points=(None, *self._behind))
        found: list[float] = []
        for part in view.cut(self.at_a_time or view.parts):
            with torch.inference_mode(), evaluated_at(self.sites, part):
                outputs = forward(_repeated(batch, part.parts))
                found += [float(objective(own, batch)) for own in _parts(outputs, part.parts)]
        return found

    def _rule(self, losses: list[float], centre: float, before: float | None) -> str:
        if not all(math.isfinite(loss) for loss in (*losses, centre, before or 0.0)):
            return "rejected"
        if harmful(losses, centre, before, self._last):
            return "taken back"
        return "stayed" if self.rule == "greedy" and min(losses) >= centre else self.rule


def replay(model: Any, records: Iterable[StepRecord]) -> None:
    """Repeat recorded steps, bit for bit, without a forward pass.

    Parameters
    ----------
    model
        The model with its starting weights.
    records
        The records of all steps from the first, as `NNO.step` returned them.

    Examples
    --------
    >>> import copy, torch
    >>> from proxtune import NNO, replay
    >>> model = torch.nn.Linear(4, 1)
    >>> start, nno = copy.deepcopy(model), NNO(model)
    >>> records = [nno.step(torch.eye(4), model, lambda out, batch: out.square().sum()) for _ in range(3)]
    >>> replay(start, records)
    >>> bool((start.weight == model.weight).all())
    True
    """
    sites, last, archive = sites_of(model), None, None
    for record in records:
        if record.rule == "nearest" and archive is None:
            archive = Archive(dimensions_of(sites))
        apply_record(sites, record, last, archive)
        last = record if record.rule in MOVING else None


def _point_before(record: StepRecord, ways: Directions) -> Point:
    """Where a step came from, seen from where it led."""
    weighted, length = moves_of(record)
    return Point(ways, length * torch.tensor(weighted, dtype=torch.float32))


def _parts(outputs: torch.Tensor, parts: int) -> tuple[torch.Tensor, ...]:
    if outputs.dim() == 0 or len(outputs) % parts:
        raise ValueError(
            f"forward gave {tuple(outputs.shape)} for {parts} times the rows; its outputs must have the rows first, unreduced"
        )
    return outputs.chunk(parts)


def _repeated(batch: Any, times: int) -> Any:
    """The rows of each tensor in `batch`, `times` over."""
    if isinstance(batch, torch.Tensor):
        return batch.repeat(times, *[1] * (batch.dim() - 1))
    if isinstance(batch, dict):
        return {key: _repeated(value, times) for key, value in batch.items()}
    return type(batch)(_repeated(value, times) for value in batch)


def _refuse_dropout(model: Any) -> None:
    for name, module in model.named_modules():
        if module.training and isinstance(module, torch.nn.modules.dropout._DropoutNd) and module.p > 0:
            raise ValueError(
                f"{name} drops out at random, which would be taken for the neighbours' doing; call model.eval()"
            )
