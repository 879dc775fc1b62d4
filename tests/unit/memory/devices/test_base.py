"""Every device answers what the contract asks for, without torch where the supervisor asks."""

import pytest

from proxtune.memory.devices.base import Device, Meter
from proxtune.memory.devices.registry import DEVICES
from support.scripts import in_a_process_of_its_own


def members(contract) -> set[str]:
    return {name for name in (*vars(contract), *contract.__annotations__) if not name.startswith("_")}


@pytest.mark.parametrize("name", DEVICES.names())
def test_a_device_has_all_that_the_contract_names(name):
    lacking = [member for member in members(Device) if not hasattr(type(DEVICES.find(name)), member)]
    assert lacking == []


def test_the_meter_of_the_processor_has_all_that_the_contract_names():
    meter = DEVICES.find("cpu").meter()
    assert [member for member in members(Meter) if not hasattr(meter, member)] == []


def test_what_the_supervisor_asks_a_device_imports_no_torch():
    found = in_a_process_of_its_own(
        """
import json, sys
from proxtune.memory.devices.registry import DEVICES, device_names, outer_limit_bytes
for device in DEVICES.all().values():
    device.calibration, device.allocators, device.can_fork, device.supervisor_counts, device.optimizer_options
    outer_limit_bytes(device.name)
print(json.dumps(sorted({"torch", "numpy"} & set(sys.modules))))
"""
    )
    assert found == []
