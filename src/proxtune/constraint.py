"""The size constraint inside training: which representation each weight has, and the nearest model that has it.

A weight that learns keeps its latent value w; the gradient is taken at the nearest point of its feasible set and moves w
(straight through: Bengio et al., 2013; as a proximal step with the nearest point: ProxQuant, Bai et al., 2019):

    w ← w − η ∇L(nearest(w))

So while gradients and judgements are made the model is feasible, and what is saved is what was judged. Scales are fitted when
the bytes are allotted and stay: in between, the nearest point is a rounding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proxtune.feasible.allocate import Allocation, Choice
from proxtune.feasible.held import FITTED_AT_ONCE, HALF_BITS, Held, allot, held_about, named, set_named, try_fitting
from proxtune.headers import BadTensors
from proxtune.structure import Structure
from proxtune.tensors import DTYPES, read_into, verified, write_tensors

_FILE, _TEACHER = "held.safetensors", "teacher"


class Constraint:
    """How the weights of `model` are held to be saved in a given number of bytes. State: the allocation, once there is one.

    The classification layer, of that name, is not packed: it is small, and most depends on it.
    """

    def __init__(self, model: Any, head: str, structure: Structure, folder: Path) -> None:
        self.model, self.structure, self._path = model, structure, folder / _FILE
        self.allocation: Allocation | None = None
        self.teacher: np.ndarray | None = None  # what the model said of all rows before it was held, (rows, classes)
        self._held: dict[str, Held] = {}
        self._whole = frozenset({f"{head}.weight"})
        self._looked_up = model.get_input_embeddings().weight

    @property
    def is_learned(self) -> bool:
        """Whether a model has to learn where it is held: codes cost something, 16 bits for each number do not."""
        return self.structure.bits < HALF_BITS

    def settle(self, importance: dict[str, Tensor] | None = None, at_once: int = FITTED_AT_ONCE) -> Allocation:
        """Allot the bytes by what each weight is worth, fit the scales, and move what does not learn to its nearest point.

        `importance` is a weight's mean squared gradient for each row, (rows,); without it all count alike. Scales are fitted
        to `at_once` numbers at a time.
        """
        weights, how = dict(self.model.named_parameters()), self.structure
        self.allocation, self._held = allot(
            weights, how.size_bytes, how.bits, how.group, self._whole, importance, at_once
        )
        self._project(learning=False)
        return self.allocation

    def try_out(self) -> None:
        """Hold weights about as `settle` will, without a search: what a rehearsal needs to see."""
        weights, how = dict(self.model.named_parameters()), self.structure
        self._held = held_about(weights, how.bits, how.group, self._whole)

    def try_fitting(self) -> None:
        """Fit as many scales as `settle` does at a time, for a rehearsal to see; nothing comes of it."""
        try_fitting(dict(self.model.named_parameters()), self.structure.bits, self.structure.group)

    @contextmanager
    def at_nearest(self, tokens: np.ndarray | None = None) -> Iterator[None]:
        """While this lasts, weights that learn are at their nearest points; of the embedding only these `tokens`, if given.

        Nothing happens before the bytes are allotted.
        """
        if not self._held:
            yield
            return
        latent: list[tuple[Tensor, Tensor | None, Tensor]] = []
        try:
            with torch.no_grad():
                for name, weight in self.model.named_parameters():
                    if not weight.requires_grad:
                        continue
                    rows = torch.from_numpy(tokens) if tokens is not None and weight is self._looked_up else None
                    kept = weight.detach().clone() if rows is None else weight.detach()[rows]
                    latent.append((weight, rows, kept))
                    _put_nearest(weight, rows, kept, self._held[name])
            yield
        finally:
            with torch.no_grad():
                for weight, rows, kept in latent:
                    _put(weight, rows, kept)

    def project(self) -> None:
        """Move every weight to its nearest point for good; what was never held is held now."""
        if self.allocation is None:
            self.settle()
        self._project(learning=True)

    def saved(self) -> dict[str, Tensor]:
        """The tensors of the weight file, of a model that is projected."""
        tensors: dict[str, Tensor] = {}
        for name, weight in self.model.named_parameters():
            tensors |= self._held[name].saved(name, weight.detach())
        return tensors

    def keep(self) -> None:
        """Write down how weights are held, for a training that is gone on with. Raises OSError, DiskFailed."""
        assert self.allocation is not None, "bytes are allotted"
        tensors = {name: held.scale for name, held in self._held.items() if held.scale is not None}
        tensors |= {} if self.teacher is None else {_TEACHER: torch.from_numpy(self.teacher)}
        sets = {name: named(held.set) for name, held in self._held.items()}
        write_tensors(
            self._path, tensors, {"sets": json.dumps(sets), "allocation": json.dumps(asdict(self.allocation))}
        )

    @property
    def is_kept(self) -> bool:
        """Whether there is something to `take_up`."""
        return self._path.is_file()

    def take_up(self) -> None:
        """Hold weights as `keep` wrote it down. Raises BadTensors, OSError."""
        header = verified(self._path)
        tensors = {name: torch.empty(e.shape, dtype=DTYPES[e.dtype]) for name, e in header.entries.items()}
        read_into(self._path, header, tensors)
        teacher = tensors.pop(_TEACHER, None)
        self.teacher = None if teacher is None else teacher.numpy()
        try:
            sets = json.loads(header.metadata["sets"])
            told = json.loads(header.metadata["allocation"])
            chosen = {name: Choice(**choice) for name, choice in told.pop("chosen").items()}
            held = {name: Held(set_named(sets[name]), tensors.get(name)) for name, _ in self.model.named_parameters()}
            self.allocation, self._held = Allocation(chosen=chosen, **told), held
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise BadTensors(f"{self._path} does not say how the weights are held: {error}") from error
        self._project(learning=False)

    def forget(self) -> None:
        """Remove what `keep` wrote."""
        self._path.unlink(missing_ok=True)

    def told(self) -> dict[str, Any]:
        """What a result says of the size: the structure, and what each weight got."""
        assert self.allocation is not None, "bytes are allotted"
        found = self.allocation
        return {
            **asdict(self.structure), "allotted_bytes": found.bytes, "cost": found.cost, "multiplier": found.multiplier,
            "gap": found.gap, "weights": {name: asdict(choice) for name, choice in found.chosen.items()},
        }  # fmt: skip

    def _project(self, learning: bool) -> None:
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                if learning or not weight.requires_grad:
                    _put_nearest(weight, None, weight.detach(), self._held[name])


def _put_nearest(weight: Tensor, rows: Tensor | None, latent: Tensor, held: Held) -> None:
    """The points nearest to `latent`, into these rows of the weight; some at a time, so that no second copy is made."""
    every = torch.arange(len(weight)) if rows is None else rows
    each = max(1, FITTED_AT_ONCE * len(weight) // weight.numel())
    for begin in range(0, len(every), each):
        few = slice(begin, begin + each)
        place = few if rows is None else every[few]
        weight[place] = held.nearest(latent[few], every[few])


def _put(weight: Tensor, rows: Tensor | None, values: Tensor) -> None:
    if rows is None:
        weight.copy_(values)
    else:
        weight[rows] = values


class NoConstraint:
    """The same where no size is asked for: nothing is held, and there is no teacher."""

    teacher: np.ndarray | None = None

    def at_nearest(self, tokens: np.ndarray | None = None) -> AbstractContextManager[None]:
        """Nothing moves."""
        return nullcontext()

    def project(self) -> None:
        """Nothing moves."""

    def forget(self) -> None:
        """Nothing was kept."""
