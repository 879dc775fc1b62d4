"""The optimizer of a plan, its state, and an update that a refusal does not spoil."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from proxtune.config.plan import Plan
from proxtune.memory.devices.registry import device_of
from proxtune.storage.safetensors_file import DTYPES
from proxtune.storage.safetensors_header import Entry

_CLIP_NORM = 1.0


def state_of(model: Any, optimizer: Any) -> dict[str, Any]:
    """The optimizer's tensors by "weight/what": none before its first step."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def room_for_state(model: Any, optimizer: Any, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """Tensors of the optimizer, new and empty, in the shapes of what `state_of` gave, for these to be read into."""
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    made = {}
    for name, entry in entries.items():
        owner, _, key = name.rpartition("/")
        device = parameters[owner].device if key != "step" or _counts_on_device(optimizer) else torch.device("cpu")
        made[name] = torch.empty(entry.shape, dtype=DTYPES[entry.dtype], device=device)
        optimizer.state[parameters[owner]][key] = made[name]
    return made


def _counts_on_device(optimizer: Any) -> bool:
    """Whether the optimizer counts its steps where the weights are."""
    return bool(optimizer.param_groups[0].get("fused"))


def make_optimizer(model: Any, plan: Plan) -> Any:
    """AdamW (as the device wants it), or Adafactor with its factored state; biases and norms are not decayed."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if plan.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=plan.learning_rate * 10, foreach=False)
    assert plan.optimizer == "adamw", plan.optimizer
    return torch.optim.AdamW(groups, lr=plan.learning_rate, **device_of(model).optimizer_options)


def update(model: Any, optimizer: Any) -> bool:
    """One step of the optimizer on the gradient that is there, its norm clipped; the gradient is gone afterwards.

    A gradient that is not finite moves nothing and stays: False. Where memory is refused in the midst (it raises), the gradient
    of what was moved is gone, and doing this again moves the rest; the one parameter that was refused may miss a step.
    """
    learning = [p for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.clip_grad_norm_(learning, _CLIP_NORM, foreach=False)
    if not bool(torch.isfinite(norm)):
        return False
    # AdamW's fused step moves a group at once, when its state is made; Adafactor moves one after another.
    groups = [[p for p in group["params"] if p.grad is not None] for group in optimizer.param_groups]
    together = groups if _counts_on_device(optimizer) else [[p] for p in learning]
    before = [(few, _moves(optimizer, few[0])) for few in together if few]
    try:
        optimizer.step()
    except (RuntimeError, MemoryError):
        for few, moves in before:
            have_moved = _moves(optimizer, few[0]) > moves
            for p in few:
                if have_moved:
                    p.grad = None
                elif _moves(optimizer, p) == 0:
                    optimizer.state.pop(p, None)  # half made
        raise
    optimizer.zero_grad(set_to_none=True)
    return True


def _moves(optimizer: Any, parameter: Any) -> float:
    state = optimizer.state.get(parameter)
    return float(state["step"]) if state else 0.0
