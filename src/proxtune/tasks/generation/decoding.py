"""Generation, under the governor: the likeliest token after another, for some rows at a time, with a cache that is theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from proxtune.config.plan import Plan
from proxtune.data.batching import sorted_batches
from proxtune.data.dataset import Encoded
from proxtune.memory.governor import Governor, in_halves
from proxtune.models.introspection import width_of, without_adapters

_MORE, _MORE_CHECKPOINTED, _MOST_TOKENS = 8, 2, 8192
_PLACES = (
    3  # of a token's in the cache: what answering takes for it in all, where slots grow or move and prompts are read
)
_TOGETHER = 64  # rows that take one another's places in a cache: so many are lost where memory is refused


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How answers are generated: the tokenizer that writes them out, the padding, what ends one, and their most tokens.

    A model that does not take padding (`pads`) is given rows of one length at a time, one that mixes rows (`batches`) one row.
    """

    tokenizer: Any
    pad_id: int
    stop_ids: tuple[int, ...]
    new_tokens: int
    pads: bool = True  # rows of several lengths may be filled up
    batches: bool = True  # rows may be answered together


class AnswerStreamer:
    """Hands an answer on piece by piece as its tokens come, as transformers' streamers do.

    State: what was said, so that of an answer that is begun again only the rest is.
    """

    def __init__(self, tokenizer: Any, on_text: Callable[[str], None]) -> None:
        self._tokenizer, self._on_text = tokenizer, on_text
        self._emitted = ""
        self.reset()

    def reset(self) -> None:
        """An answer begins; what was asked comes first and is not said."""
        self._ids: list[int] = []
        self._is_prompt = True

    def put(self, ids: torch.Tensor) -> None:
        """Some tokens of the one row."""
        if self._is_prompt:
            self._is_prompt = False
            return
        self._ids += ids.flatten().tolist()
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True).strip()
        if text.startswith(self._emitted) and not text.endswith("\ufffd"):  # else half a letter, the rest is to come
            if len(text) > len(self._emitted):
                self._on_text(text[len(self._emitted) :])
            self._emitted = text

    def end(self) -> None:
        """All tokens were put."""


def generate_answers(
    model: Any,
    data: Encoded,
    settings: GenerationSettings,
    dtype: str,
    micro_tokens: int,
    governor: Governor,
    streamer: AnswerStreamer | None = None,
) -> Iterator[tuple[int, str]]:
    """(row number, answer) for every row, those with short prompts first; at most `micro_tokens` at a time, answers and all.

    A usual decoder on a processor answers by `greedy/loop.py`, another model by its own `generate`: the answers are the same.
    Where there is one row, `streamer` hears of its answer before it is whole. A refused allocation halves the rows and repeats
    them; raises MemoryError when one row is too much.
    """
    device, plain = next(model.parameters()).device, without_adapters(model)
    was_training, prompts = model.training, prompt_lengths(data)
    model.eval()

    said = _said if _takes_slots(plain, data, settings) else _generated

    def generate(rows: np.ndarray) -> list[str]:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16"),
            _contiguous_head(plain),
        ):
            new = said(plain, data, rows, prompts, settings, micro_tokens, streamer)
        return [text.strip() for text in settings.tokenizer.batch_decode(new, skip_special_tokens=True)]

    pieces: Iterable[np.ndarray] = sorted_batches(prompts + settings.new_tokens, micro_tokens)
    if said is _said:
        order = np.argsort(prompts, kind="stable")
        pieces = (order[begin : begin + _TOGETHER] for begin in range(0, len(order), _TOGETHER))
    elif not settings.batches:
        pieces = (piece[i : i + 1] for piece in pieces for i in range(len(piece)))
    elif not settings.pads:
        pieces = (piece[prompts[piece] == length] for piece in pieces for length in np.unique(prompts[piece]))
    too_much = "generating one answer does not fit in the memory budget"
    for rows, found in in_halves(pieces, generate, governor, too_much):
        yield from zip(map(int, rows), found, strict=True)
        if governor.meter.fragments:
            governor.meter.trim()  # the cache has left holes of each length that it had
    model.train(was_training)


def tokens_at_a_time(plan: Plan) -> int:
    """Tokens, cached ones too, that answers may have together in a plan whose training steps have fewer.

    One takes a tenth of what it takes with all that a backward pass needs, if activations are kept for that; and few rows at a
    time are slow.
    """
    micro_tokens = plan.micro_batch * plan.max_length
    return max(micro_tokens, min(_MOST_TOKENS, (_MORE_CHECKPOINTED if plan.checkpointing else _MORE) * micro_tokens))


def tokens_in_room(
    model: Any, data: Encoded, settings: GenerationSettings, micro_tokens: int, governor: Governor
) -> int:
    """`micro_tokens`, or as many more as the memory that is left under the limit has room for.

    Only where rows take one another's places: what `generate` takes for a token is more than its place in the cache.
    """
    spare_bytes, plain = governor.meter.spare(), without_adapters(model)
    each = cache_bytes(plain.config, "bf16" if plain.dtype == torch.bfloat16 else "fp32")
    if spare_bytes is None or not each or not _takes_slots(plain, data, settings):
        return micro_tokens
    return max(micro_tokens, min(_MOST_TOKENS, spare_bytes // (_PLACES * each)))


def cache_bytes(config: Any, dtype: str) -> int:
    """Bytes of the cache for one token of one row: a key and a value in each block."""
    text = config.get_text_config(decoder=True)
    all_heads = _most(text, "num_attention_heads")
    if not all_heads:
        return 0  # a state, which does not grow
    heads = _most(text, "num_key_value_heads") or all_heads
    width = _most(text, "head_dim") or width_of(config) // all_heads
    blocks = getattr(text, "num_decoder_layers", None) or getattr(text, "num_hidden_layers", None) or 1
    return 2 * blocks * heads * width * (2 if dtype == "bf16" else 4)


def _most(config: Any, name: str) -> int:
    """A number of a config, or the largest of those of its layers; 0 where it has none."""
    # Where layers differ (Gemma 4), reading the whole config's value raises.
    layers = config.per_layer_config if getattr(config, "is_heterogeneous", False) else (config,)
    values = [getattr(layer, name, None) or 0 for layer in layers]
    return max(
        (max(value, default=0) if isinstance(value, list | tuple) else int(value) for value in values), default=0
    )


def prompt_lengths(data: Encoded) -> np.ndarray:
    """Tokens of what is asked in each row."""
    assert data.begins is not None, "rows have answers"
    return data.begins if data.answers is None else np.diff(data.starts)


def largest_piece(model: Any, data: Encoded, settings: GenerationSettings, micro_tokens: int) -> tuple[np.ndarray, int]:
    """The row numbers of `data` that take the most memory of those that `generate_answers` answers at once, and the most
    tokens that it has in the cache, prompts and answers.
    """
    from proxtune.tasks.generation.greedy.loop import slots_for

    prompts = prompt_lengths(data)
    if not _takes_slots(without_adapters(model), data, settings):
        pieces = list(sorted_batches(prompts + settings.new_tokens, micro_tokens))
        tokens, rows = max(
            ((len(piece) * (int(prompts[piece].max()) + settings.new_tokens), piece) for piece in pieces),
            key=lambda sized: sized[0],
        )
        return rows, tokens
    longest, full = int(prompts.max()), int(prompts.max()) + settings.new_tokens
    slots, _ = slots_for(longest, full, min(_TOGETHER, len(data)), micro_tokens)
    return np.argsort(prompts, kind="stable")[-slots:], max(full, min(slots * full, micro_tokens))


def _takes_slots(plain: Any, data: Encoded, settings: GenerationSettings) -> bool:
    """Whether rows take one another's places in a cache of our own."""
    from proxtune.tasks.generation.greedy.loop import can_decode

    return data.answers is None and settings.pads and settings.batches and can_decode(plain)


def _said(
    plain: Any,
    data: Encoded,
    rows: np.ndarray,
    prompts: np.ndarray,
    settings: GenerationSettings,
    micro_tokens: int,
    streamer: AnswerStreamer | None,
) -> list[list[int]]:
    """The tokens of the answers, by our own loop."""
    from proxtune.tasks.generation.greedy.loop import greedy_tokens

    asked = [_prompt(data, row, prompts) for row in rows]
    if streamer is not None:
        streamer.reset()
    return greedy_tokens(plain, asked, settings.new_tokens, settings.stop_ids, micro_tokens, streamer)


def _prompt(data: Encoded, row: int, prompts: np.ndarray) -> np.ndarray:
    return data.ids[data.starts[row] : data.starts[row] + prompts[row]]


def _generated(
    plain: Any,
    data: Encoded,
    rows: np.ndarray,
    prompts: np.ndarray,
    settings: GenerationSettings,
    micro_tokens: int,
    streamer: AnswerStreamer | None,
) -> torch.Tensor:
    """The tokens of the answers, by the model's own `generate`: (rows, tokens), filled up."""
    device, length = next(plain.parameters()).device, int(prompts[rows].max())
    ids = torch.full((len(rows), length), settings.pad_id)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        own = torch.from_numpy(_prompt(data, row, prompts).astype(np.int64))
        place = slice(length - len(own), None) if data.answers is None else slice(len(own))
        ids[i, place], mask[i, place] = own, 1
    if streamer is not None:
        assert len(rows) == 1, "pieces of several answers cannot be told apart"
        streamer.reset()
    made = plain.generate(
        input_ids=ids.to(device), attention_mask=mask.to(device), max_new_tokens=settings.new_tokens, do_sample=False,
        num_beams=1, pad_token_id=settings.pad_id, eos_token_id=list(settings.stop_ids), use_cache=True, streamer=streamer,
    )  # fmt: skip
    new: torch.Tensor = made[:, length if data.answers is None else 1 :].cpu()
    return new


@contextmanager
def _contiguous_head(plain: Any) -> Iterator[None]:
    """While this lasts, what enters the head is contiguous.

    Of what was asked only the last place is seen: a slice, over which torch would copy a frozen head for every row.
    """
    head = plain.get_output_embeddings()
    hook = (
        None
        if head is None
        else head.register_forward_pre_hook(lambda head, given: (given[0].contiguous(), *given[1:]))
    )
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()
