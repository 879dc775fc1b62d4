"""Whether a model's answer to a row is the one that it gives to the row alone: beside padding, and beside other rows.

Each answer has two tokens at least: the second is the first that comes of what the model keeps between steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from proxtune.data.dataset import Encoded, shortest_row
from proxtune.errors import UserError
from proxtune.models.introspection import without_adapters
from proxtune.tasks.generation.decoding import prompt_lengths
from proxtune.tasks.padding import padding_as_noise

_TRIED_TOKENS, _TRIED_PADDING = 32, 5  # of a row, and beside it
_NEW_TOKENS = 2
_SAME, _NEAR = (
    1e-4,
    0.05,
)  # of the largest logit: in fp32 (SmolLM2 comes to 2e-6), and where weights are held in bfloat16


def pads(model: Any, data: Encoded, pad_id: int) -> bool:
    """Whether the model's answer to a row stays the same where it is filled up, as rows of several lengths are together.

    Raises UserError for a decoder that looks at what comes after a token: it would learn to copy, not to answer.
    """
    plain, row = without_adapters(model), shortest_row(data)
    length = min(int(prompt_lengths(row)[0]), _TRIED_TOKENS)
    ids = torch.from_numpy(row.ids[:length].astype(np.int64))[None].to(_device(plain))
    if row.answers is None and _looks_ahead(plain, ids):
        raise UserError(
            "this model looks at what comes after each token, so it cannot learn to generate; choose a decoder (GPT, Llama), "
            "or train it with --task classify"
        )
    mask, side = torch.ones_like(ids), (_TRIED_PADDING, 0) if row.answers is None else (0, _TRIED_PADDING)
    with padding_as_noise(plain, pad_id):
        alone = _answered(plain, ids, mask, pad_id)
        if _keeps_in_its_own_way(alone.past_key_values):
            return False
        filled = _answered(
            plain, torch.nn.functional.pad(ids, side, value=pad_id), torch.nn.functional.pad(mask, side), pad_id
        )
    return _alike(plain, alone.logits[-1], filled.logits[-1])


def batches(model: Any, data: Encoded, pad_id: int) -> bool:
    """Whether the model's answers to two rows of one length stay the same where it is asked both at once."""
    plain = without_adapters(model)
    ids = torch.from_numpy(_two_rows(data).astype(np.int64)).to(_device(plain))
    together, *alone = (
        _answered(plain, rows, torch.ones_like(rows), pad_id).logits[-1] for rows in (ids, ids[:1], ids[1:])
    )
    return _alike(plain, torch.cat(alone), together)


def _keeps_in_its_own_way(kept: Any) -> bool:
    """Whether some layer of a cache is none of transformers' own, and so may count padding as tokens.

    DeepSeek-V4's sum up windows of 128 tokens by their place: too long to be seen in the row that is tried.
    """
    from transformers.cache_utils import Cache, EncoderDecoderCache

    if isinstance(kept, EncoderDecoderCache):
        return any(map(_keeps_in_its_own_way, (kept.self_attention_cache, kept.cross_attention_cache)))
    layers = kept.layers if isinstance(kept, Cache) else ()
    return any(type(layer).__module__ != Cache.__module__ for layer in layers)


def _two_rows(data: Encoded) -> np.ndarray:
    """The ends of what is asked in two rows, (2, tokens): they often begin alike. Of rows that are all alike, one is turned."""
    prompts = prompt_lengths(data)
    order = np.argsort(prompts, kind="stable")
    length = min(int(prompts[order[0]]), _TRIED_TOKENS)
    ends = (data.ids[(end := data.starts[row] + prompts[row]) - length : end] for row in order)
    one = next(ends)
    other = next((end for end in ends if not np.array_equal(one, end)), one[::-1])
    return np.stack([one, other])


def _answered(plain: Any, ids: Tensor, mask: Tensor, pad_id: int) -> Any:
    """What `generate` returns of the likeliest tokens: logits of each, and what the model keeps."""
    with torch.inference_mode():
        return plain.generate(
            input_ids=ids, attention_mask=mask, min_new_tokens=_NEW_TOKENS, max_new_tokens=_NEW_TOKENS, do_sample=False,
            num_beams=1, pad_token_id=pad_id, use_cache=True, output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip


def _looks_ahead(plain: Any, ids: Tensor) -> bool:
    """Whether the logits of a place change with what comes after it."""
    half = ids.shape[1] // 2
    if half == 0:
        return False
    with torch.inference_mode():
        known, more = (plain(input_ids=part).logits[0, half - 1] for part in (ids[:, :half], ids))
    return not _alike(plain, known, more)


def _alike(plain: Any, one: Tensor, other: Tensor) -> bool:
    """Whether logits are the same but for what kernels for other shapes round otherwise."""
    one, other, within = one.float(), other.float(), _SAME if plain.dtype == torch.float32 else _NEAR
    return torch.allclose(one, other, rtol=within, atol=within * float(one.abs().max()))


def _device(plain: Any) -> Any:
    return next(plain.parameters()).device
