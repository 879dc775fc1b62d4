"""Tokens beside what the model has embeddings for, and beside the words of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.errors import UserError
from proxtune.models.tokenizer.files import ROLES

_FIRST_TEXTS = 200
_MOST_UNKNOWN, _MANY_UNKNOWN = 0.99, 0.1  # of their tokens; words that are known may tell classes apart all the same


def check_embedding(tokenizer: Any, folder: Path, rows: int) -> None:
    """Raises UserError for tokens without a row that a text can become or is given; another padding token can be chosen."""
    if not getattr(type(tokenizer), "vocab_files_names", None):  # bytes
        return
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows:
        tokenizer.pad_token = None
    given = {str(getattr(tokenizer, role)) for role in ROLES if getattr(tokenizer, role, None) is not None}
    added = tokenizer.added_tokens_decoder.items()
    used = [number for number, token in added if not token.special or token.content in given]
    most = max([tokenizer.vocab_size, *(number + 1 for number in used)])
    if most > rows:
        raise UserError(
            f"the tokenizer in {folder} has {most:,} tokens and the model an embedding of {rows:,}: copy the tokenizer that the "
            "model was trained with, or call model.resize_token_embeddings(len(tokenizer)) and save it"
        )


def check_tokens(tokenizer: Any, config: Any, *rows: np.ndarray) -> None:
    """Raises UserError for ids of rows, each (tokens,), that the model has no embedding for: what a template writes, for one."""
    known = getattr(config.get_text_config(), "vocab_size", None)
    most = max((int(ids.max()) for ids in rows if len(ids)), default=0)
    if isinstance(known, int) and known > 0 and most >= known and getattr(type(tokenizer), "vocab_files_names", None):
        name = tokenizer.convert_ids_to_tokens(most)
        raise UserError(
            f"the rows have the token {name!r} ({most:,}), for which the model has no embedding ({known:,} rows); copy the "
            "tokenizer that the model was trained with"
        )


def embedding_rows(folder: Path) -> int | None:
    """Rows of the input embedding, as config.json has them; None where it does not say."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        found = getattr(config.get_text_config(), "vocab_size", None)
    except Exception:  # told, in a sentence, by those who need the config
        return None
    return found if isinstance(found, int) and found > 0 else None


def unknown_notes(tokenizer: Any, texts: Sequence[str]) -> tuple[str, ...]:
    """Notes where the tokenizer does not know many words of the first texts. Raises UserError where it knows next to none."""
    first = [text for text in texts[:_FIRST_TEXTS] if text.strip()]
    if not first:
        return ()
    found = tokenizer(first, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    lost = sum(token == tokenizer.unk_token_id for row in found for token in row) + sum(not row for row in found)
    share = lost / max(1, sum(max(1, len(row)) for row in found))
    if share > _MOST_UNKNOWN:
        raise UserError(
            f"the tokenizer does not know {share:.0%} of the words in the first rows; choose a model for this "
            "language, or copy the tokenizer that the model was trained with"
        )
    return (f"the tokenizer does not know {share:.0%} of the words in the first rows",) if share > _MANY_UNKNOWN else ()
