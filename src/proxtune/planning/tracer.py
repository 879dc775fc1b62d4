"""Predict by tracing: run a training step of one and of three rows and watch what is alive; more rows are a line.

`LiveBytes` counts storages from birth to death while the step runs for real, on the real weights, with a gradient
freed as soon as it is there: a few megabytes and a tenth of a second for each structure. A trace runs in a forked
child, which shares this process's imports and takes along what it adds.

torch's FakeTensorMode with MemTracker counts the same without computing, but brings the compiler, sympy and DTensor
along, 75 MB and three seconds, and with torch 2.13 aborted when several models were traced in one process, peft's among
them.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from proxtune.data.dataset import Encoded
from proxtune.memory.governor import is_refusal
from proxtune.models.introspection import blocks_are_alike, blocks_of, first_blocks, without_adapters

_TRACED_BLOCKS = (2, 3)  # with one alone, what it was given is not alive beside what it says
_MANY_BLOCKS = 5  # fewer are traced as quickly as those


@dataclass(frozen=True, slots=True)
class Traced:
    """One traced step: the most bytes alive at a time, weights and their gradients not counted; operations computed."""

    live_bytes: int
    forward_flops: float
    flops: float


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages made under it that are alive; `peak` is the most at one time.

    `model`'s own storages are not counted, though views of them pass by.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        own = [*model.parameters(), *model.buffers()]
        self._seen: set[int] = {tensor.untyped_storage()._cdata for tensor in own}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        self._seen.add(key)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size


def trace_model(model: Any, data: Encoded, dtype: str, train: bool, count_flops: bool = True) -> Traced:
    """`trace_step` of a model whose blocks are alike, by way of its first two and its first three: each of the rest adds as much.

    So a trace of a large model takes no longer than one of a small model, and no more memory. A model of few blocks, of several
    kinds of them, or that cannot do without some is traced as a whole.
    """
    plain = without_adapters(model)
    count = len(blocks_of(plain)[1])
    if count < _MANY_BLOCKS or not blocks_are_alike(plain):
        return trace_step(model, data, dtype, train, count_flops)
    traced = []
    try:
        for few in _TRACED_BLOCKS:
            with first_blocks(plain, few):
                traced.append(trace_step(model, data, dtype, train, count_flops))
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, AssertionError) as error:
        if is_refusal(error):
            raise
        return trace_step(model, data, dtype, train, count_flops)
    fewer, more = traced
    rest = count - _TRACED_BLOCKS[0]
    return Traced(
        live_bytes=fewer.live_bytes + rest * (more.live_bytes - fewer.live_bytes),
        forward_flops=fewer.forward_flops + rest * (more.forward_flops - fewer.forward_flops),
        flops=fewer.flops + rest * (more.flops - fewer.flops),
    )


def trace_step(model: Any, data: Encoded, dtype: str, train: bool, count_flops: bool = True) -> Traced:
    """Run one forward (and backward when `train`) of `model` on all rows of `data` and watch it."""
    from torch.utils.flop_counter import FlopCounterMode

    def free(parameter: Any) -> None:
        parameter.grad = None

    hooks = [p.register_post_accumulate_grad_hook(free) for p in model.parameters() if train and p.requires_grad]
    device = next(model.parameters()).device
    rows, objective = np.arange(len(data)), data.objective
    counts = FlopCounterMode(display=False, custom_mapping=_attention_formulas()) if count_flops else None
    watch, flops = LiveBytes(model), counts
    with watch, flops or contextlib.nullcontext():
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16"), torch.set_grad_enabled(train):
            loss = (
                objective.loss(model, data, rows, 0, rows, None) if train else objective.outputs(model, data, rows, 0)
            )
        forward_flops = float(flops.get_total_flops()) if flops else 0.0
        if train:
            loss.backward()
    for hook in hooks:
        hook.remove()
    return Traced(watch.peak, forward_flops, float(flops.get_total_flops()) if flops else 0.0)


def _attention_formulas() -> dict[Any, Callable[..., int]]:
    """Operations of a GPU's fused attention by the shapes of its arguments; torch before 2.12 counts no heads in groups."""
    kernels = ("flash", "efficient", "cudnn")
    aten = torch.ops.aten
    forward = {getattr(aten, f"_scaled_dot_product_{kernel}_attention"): attention_flops for kernel in kernels}
    backward = {getattr(aten, f"_scaled_dot_product_{kernel}_attention_backward"): _slopes_flops for kernel in kernels}
    return forward | backward


def attention_flops(query: Any, key: Any, value: Any, *others: Any, **more: Any) -> int:
    """Of q kᵀ and of what its softmax is multiplied with; shapes are (rows, heads, length, width), a group shares its keys."""
    rows, heads, length, width = query
    return int(2 * rows * heads * length * key[2] * (width + value[3]))


def _slopes_flops(slope: Any, query: Any, key: Any, value: Any, *others: Any, **more: Any) -> int:
    return attention_flops(query, key, value) * 5 // 2  # q kᵀ again, and two products for each of the two
