"""The checks of devices: each of ours passes, and one that breaks the contract does not."""

from dataclasses import replace

import pytest

from proxtune.checks import (
    check_calibration,
    check_computing,
    check_device,
)
from proxtune.memory.devices.registry import DEVICES, device_names, host_device


@pytest.mark.parametrize("name", [name for name in device_names() if name != "auto"])
def test_each_device_keeps_the_contract(name):
    check_device(DEVICES.find(name))


def test_the_contract_finds_a_constant_that_comes_from_nowhere():
    calibration = host_device().calibration
    unsourced = replace(calibration, sources={**calibration.sources, "growth_bytes": " "})
    with pytest.raises(AssertionError, match="come from: growth_bytes"):
        check_calibration(replace(host_device(), calibration=unsourced))


def test_the_contract_finds_an_allocator_without_slack():
    with pytest.raises(AssertionError, match="needs the slack of fast, tight, other"):
        check_calibration(replace(host_device(), allocators=("fast", "tight", "other")))


def test_the_contract_finds_a_device_that_torch_calls_otherwise():
    with pytest.raises(AssertionError, match="not what torch calls it"):
        check_computing(replace(host_device(), name="processor"))
