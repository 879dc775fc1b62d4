"""Plain parameters as a model, so that NNO searches among them as it does among a network's weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Points(torch.nn.Module):
    """Plain tensors as a model, so that NNO can search them. The output for a batch is all numbers in a row, once for each row.

    Parameters
    ----------
    start
        The tensors to start from, of any shapes; d numbers in all.

    Returns
    -------
    Tensor
        From `forward(batch)`: shape (rows, d). The batch says only how many rows there are.

    Examples
    --------
    >>> import torch
    >>> from proxtune import NNO, Points
    >>> points = Points([torch.tensor([-1.2, 1.0])])
    >>> nno = NNO(points)
    >>> record = nno.step(torch.zeros(1), forward=points, objective=lambda place, _: points.tensors(place[0])[0].square().sum())
    >>> points.tensors()[0].shape
    torch.Size([2])
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
