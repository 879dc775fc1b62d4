"""A cache that no token makes to be copied: each row has a slot with room, which is another row's when it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer


@dataclass
class Slots:
    """Where the next tokens go, said before each pass: to slots `first` to `last`, from place `begin` on or at their `places`.

    State: this, which all layers share. `rows` slots have room for `room` tokens each.
    """

    rows: int
    room: int
    first: int = 0
    last: int = 0
    begin: int = 0
    each: Tensor | None = None  # 0, 1, 2, … (last - first,)
    places: Tensor | None = None  # (last - first,), of one token each; `begin` is the largest of them


class SlotLayer(DynamicLayer):
    """Keys and values of one block. State: both, (slots, heads, room, width), zero where nothing was written.

    The places of a key's number are neighbours in memory: so a token's products with all keys read them in order.
    """

    def __init__(self, slots: Slots) -> None:
        super().__init__()
        self._slots = slots

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write tokens where `Slots` says; returns all that their rows have, (rows, heads, tokens, width)."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = empty_slots(key_states, value_states, self._slots.rows, self._slots.room)
        return self._written(self.keys, key_states), self._written(self.values, value_states)

    def _written(self, held: Tensor, states: Tensor) -> Tensor:
        at, end = self._slots, self._slots.begin + states.shape[2]
        own = held[at.first : at.last]
        if at.places is None:
            own[:, :, at.begin : end] = states
        else:
            own[at.each, :, at.places] = states[:, :, 0]
        return own[:, :, :end]

    def get_seq_length(self) -> int:
        """Tokens before the next."""
        return self._slots.begin

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Tokens that the next see, themselves included, and the place of the first."""
        return self._slots.begin + query_length, 0


def has_usual_cache(model: Any) -> bool:
    """Whether all that a model keeps of a row are the keys and values of each of its tokens."""
    try:
        layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
    except (AttributeError, TypeError, ValueError, KeyError):
        return False
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def slot_cache(model: Any, slots: Slots) -> DynamicCache:
    """An empty cache for `model`. It takes no memory before the first pass, and that of all its slots then."""
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    cache.layers = [SlotLayer(slots) for _ in cache.layers]
    return cache


def copy_slots(cache: DynamicCache, source: Tensor | int, to: Tensor | slice, length: int) -> None:
    """Copy the first `length` tokens of the slots `source` to the slots `to`: one to all of them, or each to one."""
    for layer in cache.layers:
        for held in (layer.keys, layer.values):
            held[to, :, :length] = held[source, :, :length]


def resize(cache: DynamicCache, slots: Slots, rows: int, room: int, used: int, shared: int) -> None:
    """Another count of slots, of another room: the first `used` keep their tokens, all have the `shared` that they begin with.

    One block after another, so that it takes one block's memory more.
    """
    kept = min(room, slots.room)
    slots.rows, slots.room = rows, room
    for layer in cache.layers:
        if layer.keys is None:  # before the first pass
            continue
        held = layer.keys, layer.values
        layer.keys, layer.values = empty_slots(*held, rows, room)
        for new, old in zip((layer.keys, layer.values), held, strict=True):
            new[:used, :, :kept] = old[:used, :, :kept]
            new[used:, :, :shared] = old[0, :, :shared]


def empty_slots(keys: Tensor, values: Tensor, rows: int, room: int) -> tuple[Tensor, Tensor]:
    """Keys and values for so many slots of such room, (rows, heads, room, width), of the types and widths of those given."""
    return (
        keys.new_zeros(rows, keys.shape[1], keys.shape[3], room).transpose(2, 3),
        values.new_zeros(rows, values.shape[1], room, values.shape[3]),
    )
