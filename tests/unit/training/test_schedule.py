"""The schedule of the learning rate."""

from hypothesis import given
from hypothesis import strategies as st

from proxtune.training.schedule import schedule


@given(st.integers(1, 2000), st.data())
def test_the_learning_rate_stays_between_nothing_and_all(steps, data):
    step = data.draw(st.integers(0, steps - 1))
    assert 0 < schedule(step, steps, 0.06) <= 1
    assert schedule(steps, steps, 0.06) == 0


@given(st.integers(40, 2000))
def test_the_learning_rate_rises_then_falls(steps):
    shares = [schedule(step, steps, 0.06) for step in range(steps + 1)]
    top = shares.index(max(shares))
    assert top <= 0.1 * steps
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)
