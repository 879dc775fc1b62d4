"""Greedy decoding on a processor: the likeliest token after another, of as many rows at a time as the memory allows.

What `model.generate` says, sooner. What all prompts begin with is computed once. A row that is done leaves its slot to one that
waits, and where none waits the batch shrinks. No token makes the cache be copied: rows have room for some more, and where that is
used up, fewer rows have more. Heads that share a key attend in one product, and the last token alone passes through the head.
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
from proxtune.tasks.generation.greedy.cache import Slots, copy_slots, has_usual_cache, resize, slot_cache

_JOIN_SHARE = 4  # slots are filled again when one of so many is free: a pass for each row that comes would be slow
_READ_TOGETHER = 16  # prompts, of like length: more would be padded more
_READ_TOKENS = 1024  # of them: the memory of a pass, whatever was said already by rows that are read again
_MORE_ROOM = 32  # tokens that a row has room for beyond those that it has
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
    most_tokens: int,
    streamer: Any = None,
) -> list[list[int]]:
    """The tokens of the answer to each prompt, the one that ends it among them; `most_tokens` in the cache at once, or one row's.

    For a model that `can_decode`. Prompts of like length should follow one another. Where there is one, `streamer` is given it,
    and each token as it comes.
    """
    with grouping_heads(model):
        return _Batch(model, prompts, new_tokens, most_tokens).answers(frozenset(stop_ids), streamer)


def slots_for(longest: int, full: int, rows: int, most_tokens: int) -> tuple[int, int]:
    """(slots, tokens that each has room for), where rows have `longest` tokens now, may have `full`, and there are `rows`.

    Most answers are short: rows get room for a few tokens more than they have, and those that need more take it from others.
    """
    slots = max(1, min(rows, most_tokens // min(full, longest + _MORE_ROOM)))
    return slots, min(full, max(longest + _MORE_ROOM, most_tokens // slots))


class _Batch:
    """Rows on their way. State: the tokens of each, the rows that have a slot, those that are done, and the cache."""

    def __init__(self, model: Any, prompts: Sequence[np.ndarray], new_tokens: int, most_tokens: int) -> None:
        self._model, self._new_tokens, self._most_tokens = model, new_tokens, most_tokens
        self._known = [ids.tolist() for ids in prompts]  # what was asked and what was said to it
        self._asked = [len(ids) for ids in prompts]
        self._full = max(self._asked) + new_tokens
        self._slots = Slots(*slots_for(max(self._asked), self._full, len(prompts), most_tokens))
        self._cache = slot_cache(model, self._slots)
        self._shared = 0  # tokens that all begin with
        self._waiting = list(range(len(prompts)))[::-1]
        self._rows: list[int] = []  # of the slots in use, which are the first
        self._done: set[int] = set()  # rows

    def answers(self, stop_ids: frozenset[int], streamer: Any) -> list[list[int]]:
        if streamer is not None:
            streamer.put(torch.tensor(self._known))
        self._read_what_is_shared()
        while self._waiting or not self._done.issuperset(self._rows):
            self._leave()
            self._make_room()
            self._join()
            tokens = self._pass_tokens()
            if streamer is not None:
                streamer.put(torch.tensor(tokens))
            for row, token in zip(self._rows, tokens, strict=True):
                if row not in self._done:
                    self._known[row].append(token)
                    if token in stop_ids or len(self._known[row]) == self._asked[row] + self._new_tokens:
                        self._done.add(row)
        if streamer is not None:
            streamer.end()
        return [known[asked:] for known, asked in zip(self._known, self._asked, strict=True)]

    def _read_what_is_shared(self) -> None:
        """Read what all prompts begin with, once for all slots. Each prompt's last token is its own."""
        first, last = min(self._known), max(self._known)  # in the order of words, so that all others lie between
        most = min(self._asked) - 1 if len(self._known) > 1 else 0
        self._shared = next((i for i in range(most) if first[i] != last[i]), most)
        if self._shared:
            self._read([first[: self._shared]], 0, 0)
            copy_slots(self._cache, 0, slice(1, None), self._shared)

    def _leave(self) -> None:
        """Rows that are done leave their slots, where that makes enough room for others or the batch smaller."""
        used, staying = len(self._rows), len(self._rows) - len(self._done.intersection(self._rows))
        if self._waiting:
            if not staying or (used - staying) * _JOIN_SHARE >= self._slots.rows:
                self._keep(staying)
        elif _rounded(staying) < used:
            self._keep(_rounded(staying))

    def _make_room(self) -> None:
        """Where a row has filled its slot, give all of them more; the rows that said least go back to those that wait."""
        if self._longest(self._rows) < self._slots.room:
            return
        self._keep(len(self._rows) - len(self._done.intersection(self._rows)))
        slots, room = slots_for(self._longest(self._rows), self._full, len(self._known), self._most_tokens)
        slots = max(1, min(slots, len(self._rows)))
        while len(self._rows) > slots:
            back = min(self._rows, key=lambda row: len(self._known[row]) - self._asked[row])
            self._waiting.insert(0, back)
            self._keep(len(self._rows) - 1, without=back)
        resize(self._cache, self._slots, slots, room, len(self._rows), self._shared)

    def _join(self) -> None:
        """Rows that wait take slots, where enough of those are free or can be made of the room that there is."""
        used, longest = len(self._rows), self._longest(self._rows + self._waiting)
        slots, room = slots_for(longest, self._full, used + len(self._waiting), self._most_tokens)
        if not self._waiting or (used and (slots - used) * _JOIN_SHARE < slots):
            return
        if slots != self._slots.rows or room != self._slots.room:
            resize(self._cache, self._slots, slots, room, used, self._shared)
        while rows := self._next_to_read(min(_READ_TOGETHER, slots - len(self._rows))):
            self._read([self._known[row][self._shared : -1] for row in rows], len(self._rows), self._shared)
            self._rows += rows

    def _next_to_read(self, most: int) -> list[int]:
        """The next rows that wait: at most so many, and one or `_READ_TOKENS`."""
        rows, longest = list[int](), 0
        while self._waiting and len(rows) < most:
            longest = max(longest, len(self._known[self._waiting[-1]]) - self._shared)
            if rows and (len(rows) + 1) * longest > _READ_TOKENS:
                break
            rows.append(self._waiting.pop())
        return rows

    def _longest(self, rows: list[int]) -> int:
        return max((len(self._known[row]) for row in rows), default=0)

    def _keep(self, count: int, without: int | None = None) -> None:
        """Leave `count` slots in use, of rows that go on but for `without`, then of some that are done; the last fill holes."""
        stay = [slot for slot, row in enumerate(self._rows) if row not in self._done and row != without]
        stay += [slot for slot, row in enumerate(self._rows) if row in self._done][: max(0, count - len(stay))]
        moved, holes = [slot for slot in stay if slot >= count], sorted(set(range(count)) - set(stay))
        if moved:
            copy_slots(self._cache, torch.tensor(moved), torch.tensor(holes), self._slots.begin + 1)
        for hole, slot in zip(holes, moved, strict=True):
            self._rows[hole] = self._rows[slot]
        self._rows = self._rows[:count]

    def _read(self, rows: list[list[int]], first: int, begin: int) -> None:
        """Fill slots from `first` on, from place `begin`, with these tokens."""
        if not any(rows):
            return
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True)
        lengths = torch.tensor([begin + len(row) for row in rows])
        at, places = self._slots, torch.arange(begin + ids.shape[1])
        at.first, at.last, at.begin, at.places = first, first + len(ids), begin, None
        self._forward(ids, places[None, :] < lengths[:, None], places[None, begin:].expand(len(ids), -1))

    def _pass_tokens(self) -> list[int]:
        """Pass the last token of each row; returns the likeliest after it."""
        places = torch.tensor([len(self._known[row]) - 1 for row in self._rows])
        at = self._slots
        at.first, at.last, at.begin, at.places = 0, len(self._rows), int(places.max()), places
        at.each = torch.arange(at.last)
        seen = torch.arange(at.begin + 1)[None, :] <= places[:, None]
        ids = torch.tensor([self._known[row][-1] for row in self._rows])
        logits = self._forward(ids[:, None], seen, places[:, None])[:, -1]
        likeliest: list[int] = logits.max(-1).indices.tolist()  # the first of several, as argmax, which is slow in bf16
        return likeliest

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
