"""Numbers of fewer bits: against all the numbers there are."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from proxtune.feasible.floats import Float

numbers = st.lists(
    st.floats(-100_000, 100_000, width=32) | st.floats(-(2.0**-16), 2.0**-16, width=32), min_size=1, max_size=20
)


def every_number(name):
    whole = {1: torch.uint8, 2: torch.int16}[Float(name).dtype.itemsize]
    each = torch.arange(1 << 8 * whole.itemsize, dtype=torch.int32).to(whole).view(Float(name).dtype).double()
    return each[torch.isfinite(each)].unique()


@pytest.mark.parametrize("name", ["fp8", "fp16", "bf16"])
@given(row=numbers)
def test_no_number_is_nearer(name, row):
    x = torch.tensor(row)
    near = Float(name).nearest(x)
    every = every_number(name)
    after = torch.searchsorted(every, x.double()).clamp(1, len(every) - 1)
    least = torch.minimum((every[after] - x).abs(), (every[after - 1] - x).abs())
    assert torch.equal((near.double() - x).abs(), least)
    assert Float(name).contains(near)
    assert torch.equal(Float(name).nearest(near), near)


@pytest.mark.parametrize(("name", "each"), [("fp32", 4), ("fp16", 2), ("bf16", 2), ("fp8", 1)])
def test_bytes_are_those_of_the_saved_tensor(name, each):
    x = torch.randn(3, 5)
    assert Float(name).saved(x).nbytes == Float(name).bytes(x.shape) == 15 * each
    assert Float(name).fits(x.shape)
    assert Float(name).contains(x) is (name == "fp32")
    assert not Float(name).fits((0, 5))
