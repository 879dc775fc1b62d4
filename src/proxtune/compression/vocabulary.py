"""A trimmed vocabulary: the rows of the embedding that the data use, and a tokenizer that still takes every input.

The tokenizer's file is rewritten: pieces, merges, added tokens, and every place where it names an id. A text that is made of
pieces which stayed is cut as before; others are cut smaller, into characters or bytes at the end.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.compression.tokenizer_pieces import (
    KINDS,
    Pieces,
    joined,
    merges_of,
    needs_of,
    pieces_of,
    pieces_that_stay,
)


@dataclass(frozen=True, slots=True)
class Trimmed:
    """The old ids in the order of the new ones, and the tokenizer that yields the new ones. Texts must be tokenised anew."""

    kept: tuple[int, ...]
    tokenizer: Any
    new_ids: dict[int, int]

    def new_id(self, old: int) -> int | None:
        """The new id of a piece that stayed."""
        return self.new_ids.get(old)


@dataclass(frozen=True, slots=True)
class NotTrimmed:
    """Why the vocabulary stays as it is; `least_rows` where it only takes more rows."""

    why: str
    least_rows: int | None = None


def trimmed(
    tokenizer: Any, counts: Sequence[int] | np.ndarray, rows: int | None = None, all_characters: bool = True
) -> Trimmed | NotTrimmed:
    """Keep what must stay and the pieces used most, `rows` at the most: all used ones without it.

    `counts` says how often the data use each id. Without `all_characters` those that no used piece has may go, and become unknown
    where there are no bytes to fall back to: on the film reviews 125 of MiniLM's rows must stay then, 1,999 otherwise.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return NotTrimmed("the tokenizer is not of the library tokenizers, which has it all in one file")
    spec = json.loads(backend.to_str())
    if spec["model"].get("type") not in KINDS:
        return NotTrimmed(f"the tokenizer is of the kind {spec['model'].get('type')}, not {', '.join(KINDS)}")
    pieces = pieces_of(spec)
    used = _most_used(pieces, np.asarray(counts))
    kept = pieces_that_stay(spec, pieces, None if all_characters else used)
    added = {token["content"]: token["id"] for token in sorted(spec["added_tokens"], key=lambda token: token["id"])}
    only_added = [token for token in added if token not in pieces.ids]
    needs = needs_of(spec, pieces)
    for piece in list(kept):
        kept |= needs(piece)
    least = len(kept) + len(only_added)
    if rows is not None and rows < least:
        return NotTrimmed(f"{least} rows must stay for every input to tokenise", least)
    for piece in used:
        more = ({piece} | needs(piece)) - kept
        if rows is None or len(kept) + len(only_added) + len(more) <= rows:
            kept |= more
    order = [*sorted(kept, key=pieces.ids.__getitem__), *only_added]
    return _rebuilt(tokenizer, rewritten(spec, pieces, order), order, added | pieces.ids)


def config_with(config: Any, new: Trimmed) -> Any:
    """A copy of a model's config that counts the new rows and names the new ids; an id that went is None."""
    changed = copy.deepcopy(config)
    changed.vocab_size = len(new.kept)
    for name, value in vars(config).items():
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(changed, name, new.new_id(value))
        elif name.endswith("_token_id") and isinstance(value, list):
            setattr(changed, name, [new.new_ids[one] for one in value if one in new.new_ids])
    return changed


def _most_used(pieces: Pieces, counts: np.ndarray) -> list[str]:
    """The pieces that the data use, the most used first."""
    ids = {piece: place for piece, place in pieces.ids.items() if place < len(counts) and counts[place] > 0}
    return sorted(ids, key=lambda piece: (-int(counts[ids[piece]]), ids[piece]))


def _rebuilt(tokenizer: Any, spec: dict[str, Any], order: list[str], old_ids: dict[str, int]) -> Trimmed:
    """The tokenizer that `spec` describes, by way of its files, so that it is what loading them gives."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory(prefix="proxtune-vocabulary-") as folder:
        tokenizer.save_pretrained(folder)
        (Path(folder) / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
        new = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    new.name_or_path = tokenizer.name_or_path
    assert len(new) == len(order), "every piece has one row"
    assert new.convert_tokens_to_ids(order) == list(range(len(order))), "rows are in the order of the new ids"
    kept = tuple(old_ids[piece] for piece in order)
    return Trimmed(kept, new, {old: place for place, old in enumerate(kept)})


def rewritten(spec: dict[str, Any], pieces: Pieces, order: Sequence[str]) -> dict[str, Any]:
    """A tokenizer's file with the pieces in `order` only, each under the id of its place in it."""
    new = {piece: place for place, piece in enumerate(order)}
    changed = copy.deepcopy(spec)
    model = changed["model"]
    if model["type"] == "Unigram":
        entries = dict(model["vocab"])
        unknown = None if model["unk_id"] is None else model["vocab"][model["unk_id"]][0]
        model["vocab"] = [[piece, entries[piece]] for piece in new if piece in entries]
        model["unk_id"] = None if unknown is None else new[unknown]
    else:
        model["vocab"] = {piece: place for piece, place in new.items() if piece in pieces.ids}
    if model["type"] == "BPE":
        merges = [
            (one, other) for one, other in merges_of(spec) if {one, other, joined(one, other, pieces)} <= new.keys()
        ]
        model["merges"] = [list(pair) for pair in merges]
    for token in changed["added_tokens"]:
        token["id"] = new[token["content"]]
    if changed["padding"] is not None:
        changed["padding"]["pad_id"] = new.get(changed["padding"]["pad_token"], 0)
    _renumber(changed["post_processor"], new)
    return changed


def _renumber(processor: dict[str, Any] | None, new: dict[str, int]) -> None:
    """The ids of the tokens that are put around texts."""
    if processor is None:
        return
    for own in processor.get("special_tokens", {}).values() if processor["type"] == "TemplateProcessing" else ():
        own["ids"] = [new[token] for token in own["tokens"]]
    for end in {"sep", "cls"} & processor.keys():
        processor[end] = [processor[end][0], new[processor[end][0]]]
    for part in processor.get("processors", []):
        _renumber(part, new)
