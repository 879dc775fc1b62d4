"""How long rows may be, in tokens."""

from __future__ import annotations

from typing import Any

from proxtune.config.recipe import Recipe
from proxtune.data.batching import padded
from proxtune.data.dataset import Encoded
from proxtune.models.loading import longest_allowed


def length_allowed(recipe: Recipe, tokenizer: Any, config: Any, most: int | None = None) -> int:
    """Tokens of a row at most, a multiple of 8: what the recipe asks for, or `most`; and no more than the model takes."""
    allowed = longest_allowed(tokenizer, config) // 8 * 8
    wanted = recipe.knobs.max_length or most
    return allowed if wanted is None else max(8, min(allowed, padded(wanted)))


def longest_row(*parts: Encoded) -> int:
    """Tokens of the longest row, padding included."""
    return padded(int(max(part.lengths.max() for part in parts)))
