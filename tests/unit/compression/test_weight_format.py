"""How weights are held: what is allocated fits to the byte, goes where it counts, and is what a file gives back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from proxtune.compression.weight_format import (
    HALF_BITS,
    WeightFormat,
    allocate_formats,
    rough_formats,
    rounded,
    set_from_name,
    set_name,
)
from proxtune.feasible.grid import Grid

NONE = frozenset()


def some_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    shapes = {
        "a.weight": (48, 64),
        "b.weight": (16, 128),
        "c.weight": (64, 32),
        "c.bias": (64,),
        "head.weight": (2, 64),
    }
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


def smallest(weights, bits):
    found = [held.set.bytes(weights[name].shape) for name, held in rough_formats(weights, bits, 32, NONE).items()]
    return sum(found) + 100 + 5 * 3 * 110


@given(st.integers(2, 8), st.sampled_from([8, 32, "row"]), st.integers(0, 1000))
def test_rounding_is_the_nearest_point_of_these_scales_but_for_ties(bits, share, seed):
    grid, x = Grid(bits, share), torch.randn(6, 64, generator=torch.Generator().manual_seed(seed))
    coded = grid.coded(x)
    exact, quick = grid.values(coded), rounded(x, coded.scale, grid)
    assert float(((quick - x).abs() - (exact - x).abs()).max()) <= 1e-3 * float(x.abs().max())
    assert torch.equal(rounded(quick, coded.scale, grid), quick)


@pytest.mark.parametrize("bits", [2, 4, 7, HALF_BITS])
@pytest.mark.parametrize("more", [0, 1000, 4000])
def test_what_is_allocated_fits_in_a_file_to_the_byte(tmp_path, bits, more):
    weights = some_weights()
    limit = smallest(weights, bits) + more
    allocation, held = allocate_formats(weights, limit, bits, 32, frozenset({"head.weight"}))
    tensors = {}
    for name, weight in weights.items():
        tensors |= held[name].saved(name, held[name].nearest(weight))
    save_file(tensors, str(tmp_path / "model.safetensors"), {"format": "pt"})
    assert (tmp_path / "model.safetensors").stat().st_size <= allocation.bytes + 100 <= limit
    assert set_name(held["head.weight"].set) == set_name(held["c.bias"].set) == "fp16"


def test_bytes_go_where_they_count():
    weights = some_weights()
    limit = smallest(weights, 4) + 1700  # for one of them in eight bits

    def finer(name):
        importance = {other: torch.full((len(weight),), 1.0) for other, weight in weights.items()}
        importance[name] *= 1000
        held = allocate_formats(weights, limit, 4, 32, NONE, importance)[1]
        return set_name(held[name].set)

    for name in ("a.weight", "b.weight", "c.weight"):
        assert finer(name) in ("fp8", "fp16")


def test_more_bytes_never_cost_more():
    weights = some_weights()
    costs = [
        allocate_formats(weights, smallest(weights, 3) + more, 3, 32, NONE)[0].cost
        for more in (0, 500, 2000, 8000, 30000)
    ]
    assert costs == sorted(costs, reverse=True)


def test_a_set_is_known_by_its_name():
    for name in ("fp16", "fp8", "4 bits by 128", "3 bits by row"):
        assert set_name(set_from_name(name)) == name


def test_rows_are_held_with_their_own_scales():
    weight = torch.randn(10, 32) * torch.arange(1, 11)[:, None]
    weight_format = WeightFormat(Grid(3, 32), Grid(3, 32).coded(weight).scale)
    rows = torch.tensor([7, 2])
    assert torch.equal(weight_format.nearest(weight[rows], rows), weight_format.nearest(weight)[rows])
