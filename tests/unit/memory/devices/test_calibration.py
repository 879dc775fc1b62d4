"""Constants of a device come with their sources, all of them."""

import pytest

from proxtune.memory.devices.calibration import calibrated, constant_names
from proxtune.memory.devices.cpu import CALIBRATION


def test_a_value_and_its_source_stay_together():
    given = {name: (getattr(CALIBRATION, name), f"seen {number}") for number, name in enumerate(constant_names())}
    made = calibrated(**given)
    assert made.growth_bytes == CALIBRATION.growth_bytes
    assert made.sources["growth_bytes"] == given["growth_bytes"][1]
    assert set(made.sources) == set(constant_names())


def test_a_constant_that_is_left_out_is_an_error():
    given = {name: (getattr(CALIBRATION, name), "seen") for name in constant_names()[1:]}
    with pytest.raises(TypeError, match=constant_names()[0]):
        calibrated(**given)
