"""Plain parameters as a model, so that NNO searches among them as it does among a network's weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Points(torch.nn.Module):
    """Some tensors in one row. Its output for a batch is that row, once for each row of the batch: (rows, numbers).

        points = Points([torch.tensor([-1.2, 1.0])])
        nno = NNO(points)
        nno.step(torch.zeros(1), forward=points, objective=lambda place, _: rosenbrock(*points.tensors(place[0])))

    The batch says nothing but how many rows there are.
    """

    def __init__(self, start: Iterable[Tensor]) -> None:
        super().__init__()
        given = list(start)
        self.shapes = [tensor.shape for tensor in given]
        self.place = torch.nn.Parameter(torch.cat([tensor.detach().reshape(-1) for tensor in given]).float())

    def forward(self, batch: Tensor) -> Tensor:
        """(rows, numbers)."""
        return self.place.expand(len(batch), -1).clone()

    def tensors(self, place: Tensor | None = None) -> list[Tensor]:
        """A row's numbers in the shapes that they came in; those of the present place without one."""
        flat = self.place.detach() if place is None else place
        pieces = flat.split([shape.numel() for shape in self.shapes])
        return [piece.reshape(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]
