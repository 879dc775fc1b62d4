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
    """Keys and values of one block. State: both, (slots, heads, room, width), zero where nothing was written."""

    def __init__(self, slots: Slots) -> None:
        super().__init__()
        self._slots = slots

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write tokens where `Slots` says; returns all that their rows have, (rows, heads, tokens, width)."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = (self._empty(states) for states in (key_states, value_states))
        return self._written(self.keys, key_states), self._written(self.values, value_states)

    def _empty(self, states: Tensor) -> Tensor:
        return states.new_zeros(self._slots.rows, states.shape[1], self._slots.room, states.shape[3])

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
        for name in ("keys", "values"):
            held = getattr(layer, name)
            if held is None:  # before the first pass
                continue
            new = held.new_zeros(rows, held.shape[1], room, held.shape[3])
            new[:used, :, :kept] = held[:used, :, :kept]
            new[used:, :, :shared] = held[0, :, :shared]
            setattr(layer, name, new)
