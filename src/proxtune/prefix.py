"""The shared prefix: blocks before the first that learns answer alike at every neighbour, so rows pass through them once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


class _Entered(Exception):
    """The model came to the block; carries what it brought."""

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden


def entering(block: Any, run: Callable[[], Any]) -> Tensor:
    """What `run`, a forward pass of the model, brings to `block`: (rows, length, width). Nothing behind it is computed."""

    def stop(module: Any, inputs: tuple[Any, ...]) -> None:
        raise _Entered(inputs[0])

    handle = block.register_forward_pre_hook(stop)
    try:
        run()
    except _Entered as entered:
        return entered.hidden
    finally:
        handle.remove()
    raise AssertionError("the model does not pass through its blocks")


@contextmanager
def beginning_with(hidden: Tensor, blocks: Any, first: int) -> Iterator[None]:
    """While this lasts, `blocks[first]` is given `hidden` (rows, length, width) and the blocks before it compute nothing."""

    def instead(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (hidden, *inputs[1:])

    handle = blocks[first].register_forward_pre_hook(instead)
    for block in blocks[:first]:
        block.forward = lambda *inputs, **named: hidden
    try:
        yield
    finally:
        handle.remove()
        for block in blocks[:first]:
            del block.forward
