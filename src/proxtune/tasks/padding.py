"""Padding that shows: what a model makes of it is tried with noise in its place.

In a new model padding is embedded as zeros, and a recurrent layer passes zeros by without a trace. Once the model has learned
they are no zeros any more, and then a row's answer is another beside padding than alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from proxtune.models.introspection import without_adapters


@contextmanager
def padding_as_noise(model: Any, pad_id: int) -> Iterator[None]:
    """While this lasts, the padding token is embedded as noise of the size of other tokens; not where there is no one table."""
    import torch

    def fill(table: Any, given: Any, said: Any) -> Any:
        if not given or not isinstance(said, torch.Tensor) or given[0].shape != said.shape[:-1]:
            return said  # I-BERT's table says its scale as well
        is_padding = given[0] == pad_id
        # of a size that more padding does not change: some rows have the token in their text too
        others = said[~is_padding]
        noise = torch.randn(said.shape[-1], generator=torch.Generator().manual_seed(0)).to(said)
        return torch.where(is_padding[..., None], noise * (others.std() if others.numel() > 1 else 1.0), said)

    try:
        table = without_adapters(model).get_input_embeddings()
    except (AttributeError, NotImplementedError):  # CANINE hashes characters into several tables
        table = None
    hook = table.register_forward_hook(fill) if isinstance(table, torch.nn.Module) else None  # Perceiver's are latents
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()
