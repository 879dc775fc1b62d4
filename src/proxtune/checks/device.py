"""What the rest of the program counts on a device to do."""

from __future__ import annotations

from proxtune.memory.allocator import FAST, TIGHT
from proxtune.memory.devices.base import Device
from proxtune.memory.devices.calibration import constant_names
from proxtune.memory.devices.registry import device_of

_BLOCK_BYTES = 64 << 20  # that a meter must see


def check_device(device: Device) -> None:
    """Run every check that can be run here; the meter and a computation only where there is such a device."""
    check_calibration(device)
    assert device.name.islower(), f"the name {device.name!r} must be a word in small letters"
    assert device.allocators, f"{device.name} has no allocator"
    strange = sorted(set(device.allocators) - {FAST, TIGHT})
    assert not strange, f"{device.name} has allocators that nothing sets: {strange}"
    assert device.attention("eager"), f"{device.name} names no attention"
    outer = device.outer_limit_bytes()
    assert outer is None or outer > 0, f"{device.name} is limited to {outer} bytes"
    missing = device.explain_missing()
    if missing is None:
        check_meter(device)
        check_computing(device)
    else:
        assert len(missing.splitlines()) == 1, f"{device.name} must say in a line why it is missing"


def check_calibration(device: Device) -> None:
    """Each constant has a source, and slack for every allocator."""
    calibration = device.calibration
    unsourced = [name for name in constant_names() if not calibration.sources.get(name, "").strip()]
    assert not unsourced, f"{device.name}'s calibration does not say where these come from: {', '.join(unsourced)}"
    slack = calibration.allocator_slack
    assert set(device.allocators) <= set(slack), f"{device.name} needs the slack of {', '.join(device.allocators)}"
    assert all(ratio >= 1 for ratio in slack.values()), f"{device.name}: an allocator cannot hold less than what lives"


def check_meter(device: Device) -> None:
    """The meter sees a tensor come and go, its peak stays until it is reset, and a limit can be set and lifted."""
    import torch

    meter = device.meter()
    meter.trim()
    meter.reset()
    before = meter.now()
    block = torch.ones(_BLOCK_BYTES // 4, device=device.torch_device)
    assert meter.now() - before > 0.8 * _BLOCK_BYTES, f"{device.name}: the meter does not see {_BLOCK_BYTES:,} bytes"
    assert meter.peak() >= meter.now() - _BLOCK_BYTES // 8, f"{device.name}: the peak is below what is held"
    del block
    meter.trim()
    assert meter.now() - before < 0.5 * _BLOCK_BYTES, f"{device.name}: what was freed and trimmed counts as held"
    meter.limit(meter.reach() + 16 * _BLOCK_BYTES)
    spare = meter.spare()
    meter.limit(None)
    assert spare is None or spare > 0, f"{device.name}: nothing is left under a limit that has room"


def check_computing(device: Device) -> None:
    """A model learns there: a step of the optimizer with the device's options, in bf16 where it says that it can."""
    import torch

    model = torch.nn.Linear(8, 8).to(device.torch_device)
    assert device_of(model).name == device.name, f"{device.name} is not what torch calls it: {device_of(model).name}"
    before = model.weight.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, **device.optimizer_options)
    with torch.autocast(device.torch_device.type, torch.bfloat16, enabled=device.supports_bf16):
        model(torch.ones(2, 8, device=device.torch_device)).sum().backward()
    optimizer.step()
    assert not bool((model.weight == before).all()), f"{device.name}: a step of the optimizer moves nothing"
