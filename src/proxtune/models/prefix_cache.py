"""The shared prefix: blocks before the first that learns answer alike at every neighbour, so rows pass through them once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor


class _Entered(Exception):
    """The model came to the block; carries what it brought."""

    def __init__(self, hidden: Tensor | None) -> None:
        self.hidden = hidden


def hidden_at_block(blocks: Any, first: int, run: Callable[[], Any]) -> Tensor | None:
    """What `run`, a forward pass of the model, brings to `blocks[first]`: (rows, length, width). Nothing behind it is computed.

    None where the blocks hand on more than that (T5's position bias), which a model that begins here would lack, or where
    the model calls what is in its blocks and not the blocks.
    """

    def more(block: Any, inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor):
            raise _Entered(None)

    def stop(block: Any, inputs: tuple[Any, ...]) -> None:
        raise _Entered(inputs[0] if inputs else None)

    with ExitStack() as stack:
        for block in blocks[:first]:
            stack.callback(block.register_forward_hook(more).remove)
        stack.callback(blocks[first].register_forward_pre_hook(stop).remove)
        try:
            run()
        except _Entered as entered:
            return entered.hidden
    return None


@contextmanager
def starting_from_hidden(hidden: Tensor | None, blocks: Any, first: int) -> Iterator[None]:
    """While this lasts, `blocks[first]` is given `hidden` (rows, length, width) and the blocks before it compute nothing.

    With None the model stays whole.
    """
    if hidden is None:
        yield
        return

    def instead(block: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
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
