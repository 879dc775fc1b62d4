"""Greedy decoding on a processor: the likeliest token after another, of as many rows at a time as the memory allows.

What `model.generate` says, sooner. What all prompts begin with is computed once. A row that is done leaves its slot to one that
waits, and where none waits the batch shrinks. The cache has its final size from the start, heads that share a key attend in
one product, and of each row the last token alone passes through the head.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proxtune.models.generation_settings import answers_plainly
from proxtune.tasks.generation.greedy.attention import grouping_heads, has_usual_attention
from proxtune.tasks.generation.greedy.cache import Slots, copy_slots, has_usual_cache, slot_cache

_JOIN_SHARE = 4  # slots are filled again when one of so many is free: a pass for each row that comes would be slow
_READ_TOGETHER = 16  # prompts, of like length: more would be padded more
_FEW_SHAPES = 8  # rows are multiples of it, or powers of two below: kernels are compiled for each count of rows

# What a model may do in its own way when it generates; one that does is left to `model.generate`.
_STEPS = (
    *("generate", "_sample", "_prefill", "_get_logits_processor", "_get_stopping_criteria", "_reorder_cache"),
    *("prepare_inputs_for_generation", "_update_model_kwargs_for_generation", "_prepare_model_inputs"),
    *(
        "_prepare_position_ids_for_generation",
        "_prepare_attention_mask_for_generation",
        "_prepare_cache_for_generation",
    ),
    *("_supports_default_dynamic_cache", "_prepare_generation_config", "_expand_inputs_for_generation"),
)
_TAKES = {"input_ids", "attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"}


def can_decode(model: Any) -> bool:
    """Whether `greedy_tokens` says what `model.generate` does: a decoder on a processor, usual in steps, attention and cache."""
    from transformers import GenerationMixin

    if model.config.is_encoder_decoder or next(model.parameters()).device.type != "cpu":
        return False
    kind = type(model)
    if (
        any(_same(kind, name) is not _same(GenerationMixin, name) for name in _STEPS)
        or not kind._supports_default_dynamic_cache()
    ):
        return False
    if not set(inspect.signature(kind.forward).parameters) >= _TAKES or not answers_plainly(model.generation_config):
        return False
    return has_usual_cache(model) and has_usual_attention(model)


def _same(kind: Any, name: str) -> Any:
    found = getattr(kind, name, None)
    return getattr(found, "__func__", found)


def greedy_tokens(
    model: Any,
    prompts: Sequence[np.ndarray],
    new_tokens: int,
    stop_ids: Sequence[int],
    slots: int,
    streamer: Any = None,
) -> list[list[int]]:
    """The tokens of the answer to each prompt, the one that ends it among them; at most `slots` rows at a time.

    For a model that `can_decode`. Prompts of like length should follow one another. Where there is one, `streamer` is given it,
    and each token as it comes.
    """
    with grouping_heads(model):
        return _Batch(model, prompts, new_tokens, slots).answers(frozenset(stop_ids), streamer)


class _Batch:
    """Rows on their way. State: what was said of each, the row and the next token of each slot in use, and the cache."""

    def __init__(self, model: Any, prompts: Sequence[np.ndarray], new_tokens: int, slots: int) -> None:
        self._model, self._new_tokens = model, new_tokens
        self._prompts = [torch.from_numpy(ids.astype(np.int64)) for ids in prompts]
        self._slots = Slots(min(max(slots, 1), len(prompts)), max(map(len, prompts)) + new_tokens)
        self._cache = slot_cache(model, self._slots)
        self._said: list[list[int]] = [[] for _ in prompts]
        self._waiting = list(range(len(prompts)))[::-1]
        self._rows: list[int] = []  # in the slots in use, which are the first
        self._done: set[int] = set()
        self._next: list[int] = []  # token of each, not yet in the cache

    def answers(self, stop_ids: frozenset[int], streamer: Any) -> list[list[int]]:
        if streamer is not None:
            streamer.put(self._prompts[0][None])
        shared = self._read_what_is_shared()
        while self._waiting or len(self._done) < len(self._rows):
            self._leave()
            self._join(shared)
            tokens = self._pass_tokens()
            if streamer is not None:
                streamer.put(torch.tensor(tokens))
            for slot, (row, token) in enumerate(zip(self._rows, tokens, strict=True)):
                if slot in self._done:
                    continue
                self._said[row].append(token)
                self._next[slot] = token
                if token in stop_ids or len(self._said[row]) == self._new_tokens:
                    self._done.add(slot)
        if streamer is not None:
            streamer.end()
        return self._said

    def _read_what_is_shared(self) -> int:
        """Read what all prompts begin with, once for all slots; returns its length. Each prompt's last token is its own."""
        first, shared = self._prompts[0], 0 if len(self._prompts) == 1 else min(map(len, self._prompts)) - 1
        for other in self._prompts[1:]:
            differs = (first[:shared] != other[:shared]).nonzero()
            shared = int(differs[0]) if len(differs) else shared
        if shared:
            self._read(first[None, :shared], 0, 0, torch.tensor([shared]))
            copy_slots(self._cache, 0, slice(1, None), shared)
        return shared

    def _join(self, shared: int) -> None:
        """Rows that wait take the slots that are free, where those are enough."""
        free = self._slots.rows - len(self._rows)
        if not self._waiting or (self._rows and free * _JOIN_SHARE < self._slots.rows):
            return
        while count := min(_READ_TOGETHER, self._slots.rows - len(self._rows), len(self._waiting)):
            first = len(self._rows)
            rows = [self._waiting.pop() for _ in range(count)]
            lengths = torch.tensor([len(self._prompts[row]) - 1 for row in rows])
            if int(lengths.max()) > shared:
                own = [self._prompts[row][shared:-1] for row in rows]
                self._read(torch.nn.utils.rnn.pad_sequence(own, batch_first=True), first, shared, lengths)
            self._rows += rows
            self._next += [int(self._prompts[row][-1]) for row in rows]

    def _read(self, ids: Tensor, first: int, begin: int, lengths: Tensor) -> None:
        """Fill slots from `first` on, from place `begin`, with `ids` (rows, tokens); rows end at place `lengths`."""
        at, end = self._slots, begin + ids.shape[1]
        at.first, at.last, at.begin, at.places = first, first + len(ids), begin, None
        places = torch.arange(end)
        self._forward(ids, places[None, :] < lengths[:, None], places[None, begin:].expand(len(ids), -1))

    def _leave(self) -> None:
        """Rows that are done leave their slots, where that makes enough room or the batch smaller; the last fill them."""
        used, staying = len(self._rows), len(self._rows) - len(self._done)
        kept = staying if self._waiting else min(_rounded(staying), used)
        if kept == used or (self._waiting and staying and (used - staying) * _JOIN_SHARE < self._slots.rows):
            return
        stay = [slot for slot in range(used) if slot not in self._done] + sorted(self._done)[: kept - staying]
        moved, holes = [slot for slot in stay if slot >= kept], sorted(set(range(kept)) - set(stay))
        if moved:
            copy_slots(self._cache, torch.tensor(moved), torch.tensor(holes), self._slots.begin + 1)
        order = list(range(kept))
        for hole, slot in zip(holes, moved, strict=True):
            order[hole] = slot
        self._done = {to for to, slot in enumerate(order) if slot in self._done}
        self._rows, self._next = [self._rows[slot] for slot in order], [self._next[slot] for slot in order]

    def _pass_tokens(self) -> list[int]:
        """Pass the next token of each slot; returns the likeliest after it."""
        places = torch.tensor([len(self._prompts[row]) - 1 + len(self._said[row]) for row in self._rows])
        places -= torch.tensor([slot in self._done for slot in range(len(self._rows))], dtype=torch.long)
        at = self._slots
        at.first, at.last, at.begin, at.places = 0, len(self._rows), int(places.max()), places
        seen = torch.arange(at.begin + 1)[None, :] <= places[:, None]
        logits = self._forward(torch.tensor(self._next)[:, None], seen, places[:, None])
        return logits[:, -1].argmax(-1).tolist()

    def _forward(self, ids: Tensor, seen: Tensor, places: Tensor) -> Tensor:
        found = self._model(
            input_ids=ids, attention_mask=seen.long(), position_ids=places, past_key_values=self._cache, use_cache=True,
            logits_to_keep=1, return_dict=True,
        )  # fmt: skip
        logits: Tensor = found.logits
        return logits


def _rounded(rows: int) -> int:
    """`rows` or a few more, of a few counts."""
    if rows >= _FEW_SHAPES:
        return -(-rows // _FEW_SHAPES) * _FEW_SHAPES
    return 1 << max(rows - 1, 0).bit_length()
