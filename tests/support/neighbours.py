"""What tests of neighbours and of updates share: a direction written out, and a small model with every kind of site."""

import torch

from proxtune.optim.neighbours import Directions
from proxtune.optim.sites import SCALE, Site

SEED, STEP, K = 11, 5, 3


def delta_of(site: Site, ways: Directions, k: int) -> torch.Tensor:
    """Δₖ of a weight, materialised."""
    a, b = ways.rows[site.stream][k].float(), ways.columns[site.stream][k].float()
    if site.weight.dim() > 1:
        return torch.outer(a, b)
    return a * site.weight.detach().float() if site.kind == SCALE else a


def a_mix() -> torch.nn.Module:
    """An embedding, norms and linear layers, with and without a bias; the same each time."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Embedding(20, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 12), torch.nn.GELU(),
        torch.nn.Linear(12, 4, bias=False), torch.nn.RMSNorm(4),
    )  # fmt: skip
