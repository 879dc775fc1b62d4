"""Sites: the places in a model where a weight meets an activation, so that a neighbour's weight need never be written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proxtune.optim.points import Points

LINEAR, EMBEDDING, SCALE, SHIFT = "linear", "embedding", "scale", "shift"


@dataclass(frozen=True, slots=True)
class Site:
    """A weight that learns, where it is used, and how. `stream` numbers its random bits: its place among all parameters.

    A tied weight has a site for each use, all of one stream. `rows` and `columns` are those of the weight; a vector is one
    column.
    """

    name: str
    module: Any
    weight: Tensor
    kind: str
    stream: int

    @property
    def rows(self) -> int:
        return self.weight.shape[0]

    @property
    def columns(self) -> int:
        return self.weight.shape[1] if self.weight.dim() > 1 else 1


def sites_of(model: Any) -> list[Site]:
    """Every use of a weight that learns (`requires_grad`), in the model's own order.

    Raises TypeError for a weight that learns in a module of another kind than linear, embedding or norm: its neighbours
    cannot be seen through its activations.
    """
    streams = {id(parameter): number for number, parameter in enumerate(model.parameters())}
    found = [
        Site(
            name=f"{name}.{own}" if name else own,
            module=module,
            weight=weight,
            kind=_kind(name, module, own, weight),
            stream=streams[id(weight)],
        )
        for name, module in model.named_modules()
        for own, weight in module.named_parameters(recurse=False)
        if weight.requires_grad
    ]
    for site in found:
        if site.weight.dtype not in (torch.float32, torch.bfloat16):
            raise TypeError(f"{site.name} is {site.weight.dtype}; weights that learn are float32 or bfloat16")
    if not found:
        raise ValueError("no weight of this model is trainable; set requires_grad on some")
    return found


def weights_of(sites: list[Site]) -> Iterator[Site]:
    """One site for each weight, tied ones once."""
    seen: set[int] = set()
    for site in sites:
        if site.stream not in seen:
            seen.add(site.stream)
            yield site


def _kind(name: str, module: Any, own: str, weight: Tensor) -> str:
    if isinstance(module, torch.nn.Linear):
        return LINEAR if own == "weight" else SHIFT
    if isinstance(module, torch.nn.Embedding):
        return EMBEDDING
    if isinstance(module, Points):
        return SHIFT
    if weight.dim() == 1 and "norm" in type(module).__name__.lower():
        return SCALE if own == "weight" else SHIFT
    raise TypeError(
        f"{name}.{own} is in a {type(module).__name__}: neighbours are seen through linear layers, embeddings and norms; "
        "set requires_grad_(False) on it"
    )
