"""The devices by name. A file for each, a line here; other packages add theirs by the entry point `proxtune.devices`."""

from __future__ import annotations

from typing import Any

from proxtune.config.plugins import Registry
from proxtune.errors import UserError
from proxtune.memory.devices.base import Device

AUTO = "auto"  # the last of the names that is here
DEVICES: Registry[Device] = Registry(
    kind="device",
    group="proxtune.devices",
    built_in={
        "cpu": "proxtune.memory.devices.cpu:DEVICE",
        "cuda": "proxtune.memory.devices.cuda:DEVICE",
    },
)


def device_names() -> tuple[str, ...]:
    """What `--device` may say."""
    return (AUTO, *DEVICES.names())


def check_device_name(wanted: str) -> None:
    """Raises UserError for a name that no device has. Imports no torch."""
    if wanted not in device_names():
        raise UserError(f"unknown device {wanted!r}; choose one of {', '.join(device_names())}")


def find_device(wanted: str, *, or_another: bool = False) -> Device:
    """The device that `wanted`, a name or "auto", comes to here; with `or_another` a missing one gives way to "auto".

    Raises UserError for an unknown device and for one that is not here.
    """
    check_device_name(wanted)
    if wanted != AUTO:
        device = DEVICES.find(wanted)
        missing = device.explain_missing()
        if missing is None:
            return device
        if not or_another:
            raise UserError(missing)
    found = [device for device in DEVICES.all().values() if device.explain_missing() is None]
    return found[-1]


def host_device() -> Device:
    """The device that is everywhere: the processor."""
    return DEVICES.find("cpu")


def device_of(model: Any) -> Device:
    """The device that a model is on."""
    return DEVICES.find(next(model.parameters()).device.type)


def outer_limit_bytes(wanted: str) -> int | None:
    """A limit that the system sets on the memory of `wanted`; for "auto", without a look at what is here, on the processor's."""
    return (host_device() if wanted == AUTO else DEVICES.find(wanted)).outer_limit_bytes()
