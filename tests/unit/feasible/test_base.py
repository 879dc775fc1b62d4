"""What every feasible set answers, whichever it is; that its nearest is the nearest, each set's own tests say."""

import pytest
import torch

from proxtune.feasible.codebook import Codebook
from proxtune.feasible.floats import Float
from proxtune.feasible.grid import Grid
from proxtune.feasible.low_rank import LowRank
from proxtune.feasible.point_set import PointSet
from proxtune.feasible.sparse import Sparse

SETS = {
    "fp32": Float("fp32"),
    "fp8": Float("fp8"),
    "grid": Grid(4, 8),
    "codebook": Codebook(3),
    "point set": PointSet(torch.randn(256, 4, generator=torch.Generator().manual_seed(1))),
    "low rank": LowRank(3),
    "sparse": Sparse(100),
}
X = torch.randn(24, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=SETS)
def feasible(request):
    return SETS[request.param]


def test_the_nearest_is_a_member_in_float32_and_the_tensor_stays_as_it_was(feasible):
    x = X.clone()
    near = feasible.nearest(x)
    assert torch.equal(x, X)
    assert (near.shape, near.dtype) == (X.shape, torch.float32)
    assert feasible.contains(near)


@pytest.mark.filterwarnings("ignore:torch.searchsorted")  # a codebook's: a copy more
def test_the_nearest_of_the_same_tensor_is_the_same_however_it_lies_in_memory(feasible):
    turned = X.T.contiguous().T
    assert not turned.is_contiguous()
    assert torch.equal(feasible.nearest(turned), feasible.nearest(X))


def test_what_fits_has_fewer_bytes_than_float32_has_or_as_many(feasible):
    assert feasible.fits(X.shape)
    assert isinstance(feasible.bytes(X.shape), int)
    assert 0 < feasible.bytes(X.shape) <= X.nbytes + (feasible.points.nbytes if isinstance(feasible, PointSet) else 0)


def test_nothing_fits_nowhere(feasible):
    assert not feasible.fits((0, 32))
