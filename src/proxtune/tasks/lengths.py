"""How long rows may be, in tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from proxtune.config.recipe import Recipe
from proxtune.data.batching import padded
from proxtune.data.dataset import Encoded
from proxtune.errors import UserError
from proxtune.models.loading import longest_allowed

_FEWEST = 8
_WHOLE = 0.995  # share of the rows that stay whole, where the others are so much longer:
_FAR_LONGER = 1.5


def length_allowed(recipe: Recipe, tokenizer: Any, config: Any, most: int | None = None) -> int:
    """Tokens of a row at most, a multiple of 8: what the recipe asks for, or `most`; and no more than the model takes.

    Raises UserError for a model that takes fewer than 8.
    """
    taken = longest_allowed(tokenizer, config)
    if taken < _FEWEST:
        raise UserError(
            f"the model takes rows of {taken} tokens at most (model_max_length in tokenizer_config.json, or the positions in "
            "config.json), and at least 8 are needed; correct that, or choose another model"
        )
    allowed = taken // 8 * 8
    wanted = recipe.knobs.max_length or most
    return allowed if wanted is None else max(8, min(allowed, padded(wanted)))


def longest_row(*parts: Encoded) -> int:
    """Tokens of the longest row, padding included."""
    return padded(int(max(part.lengths.max() for part in parts)))


def useful_length(lengths: np.ndarray, most: int) -> int:
    """Tokens that a row may have: all rows stay whole, up to `most`, unless a few are far longer than the others.

    Memory is planned for the longest row, so one in two hundred is rather cut than all be learned in smaller micro-batches.
    """
    longest, usual = int(lengths.max()), int(np.quantile(lengths, _WHOLE, method="lower"))
    return min(most, longest if longest <= _FAR_LONGER * usual else usual)
