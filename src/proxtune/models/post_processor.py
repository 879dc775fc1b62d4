"""What a tokenizer puts behind every text, saved with it: a question, or nothing where a model is to write on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BEHIND = "<|question|>"  # what the template calls it
_TEXT = "a"  # where there is no better one


def keeps_post_processor(tokenizer: Any) -> bool:
    """Whether the tokenizer has what it puts around a text in its file: those written in Python have it in their code."""
    return getattr(tokenizer, "backend_tokenizer", None) is not None


def has_own_ending(tokenizer: Any) -> bool:
    """Whether `end_texts_with` was called for it."""
    return keeps_post_processor(tokenizer) and _BEHIND in str(tokenizer.backend_tokenizer.post_processor)


def end_texts_with(tokenizer: Any, ids: Sequence[int], text: str = _TEXT) -> None:
    """Let the tokenizer put the tokens `ids` behind every text, within what truncation leaves, and nothing else.

    What it puts before and between texts stays. All of it is one template, since `tokenizers` fails at a chain of them where one
    has put something around a text. `text` is one that the tokenizer knows.
    """
    from tokenizers.processors import TemplateProcessing

    tokenizer(text)  # which ends what padding and truncation were set
    backend = tokenizer.backend_tokenizer
    put: dict[str, dict[str, Any]] = {
        _BEHIND: {"id": _BEHIND, "ids": list(ids), "tokens": tokenizer.convert_ids_to_tokens(list(ids))}
    }
    single, pair = _template(backend, backend.encode(text), put), _template(backend, backend.encode(text, text), put)
    backend.post_processor = TemplateProcessing(single=single, pair=pair, special_tokens=list(put.values()))


def _template(backend: Any, encoding: Any, put: dict[str, dict[str, Any]]) -> list[str]:
    """The template that made an encoding, up to the end of its last text; `put` gains the tokens in it.

    Whatever puts tokens around texts (a template, BERT's or RoBERTa's way, a chain of them), this is what comes out of it.
    """
    pieces: list[str] = []
    for number, text, kind in zip(encoding.ids, encoding.sequence_ids, encoding.type_ids, strict=True):
        piece = f"#{number}:{kind}" if text is None else f"${'AB'[text]}:{kind}"
        if text is None:
            put[f"#{number}"] = {"id": f"#{number}", "ids": [number], "tokens": [backend.id_to_token(number)]}
        if text is None or piece not in pieces:
            pieces.append(piece)
    while pieces and not pieces[-1].startswith("$"):
        pieces.pop()
    return [*pieces, f"{_BEHIND}:{pieces[-1].rpartition(':')[2]}"]
