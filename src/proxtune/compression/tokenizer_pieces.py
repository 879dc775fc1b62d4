"""The pieces of a tokenizer: which must stay so that every input still tokenises, and what else a piece needs.

These stay whatever the data: added tokens, the unknown token, what the tokenizer itself puts around a text, every byte, and
every single character, at the beginning of a word and within (WordPiece's `##a`), so that words of known characters never become
unknown. WordPiece takes the longest piece that fits, Unigram the likeliest cut: with fewer pieces a text of pieces that stayed is
cut as before. BPE merges its way up to a piece, so all that it merges on the way must stay too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

KINDS = ("WordPiece", "BPE", "Unigram", "WordLevel")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_NONE = 1 << 40  # a rank that no merge has


@dataclass(frozen=True, slots=True)
class Pieces:
    """Each piece's id, and how its characters are told from what marks their place in a word."""

    ids: dict[str, int]
    prefix: str
    suffix: str

    def characters(self, piece: str) -> str:
        """A piece without the mark of its place in a word."""
        if self.prefix and len(piece) > len(self.prefix):
            piece = piece.removeprefix(self.prefix)
        if self.suffix and len(piece) > len(self.suffix):
            piece = piece.removesuffix(self.suffix)
        return piece

    def singles(self) -> set[str]:
        """Single characters, in every place that they are known at, and single bytes."""
        return {piece for piece in self.ids if len(self.characters(piece)) == 1 or _BYTE.fullmatch(piece)}


def pieces_of(spec: dict[str, Any]) -> Pieces:
    """The pieces of a tokenizer of one of `KINDS`, without those that were only added to it."""
    model = spec["model"]
    vocabulary = model["vocab"]
    if model["type"] == "Unigram":
        vocabulary = {piece: place for place, (piece, _) in enumerate(vocabulary)}
    prefix, suffix = model.get("continuing_subword_prefix"), model.get("end_of_word_suffix")
    return Pieces(vocabulary, prefix or "", suffix or "")


def pieces_that_stay(spec: dict[str, Any], pieces: Pieces, seen: Iterable[str] | None = None) -> set[str]:
    """The pieces to keep whatever the data. With `seen`, pieces that the data use, single characters only as these have them."""
    model = spec["model"]
    stay = {token["content"] for token in spec["added_tokens"]} | _put_around(spec["post_processor"])
    stay |= {model["unk_token"]} if model.get("unk_token") else set()
    if model["type"] == "Unigram":
        stay.add(min(model["vocab"], key=lambda entry: entry[1])[0])  # what is unknown scores ten below it
        if model["unk_id"] is not None:
            stay.add(model["vocab"][model["unk_id"]][0])
    if model["type"] != "WordLevel":
        singles = pieces.singles()
        if seen is not None and not _is_of_bytes(spec):
            known = {character for piece in seen for character in pieces.characters(piece)}
            singles = {piece for piece in singles if _BYTE.fullmatch(piece) or pieces.characters(piece) in known}
        elif model["type"] != "BPE":  # in BPE, what begins with an unknown character is never reached
            stay |= {piece for piece in pieces.ids if not _in_singles(piece, pieces, singles)}
        stay |= singles
    return stay & pieces.ids.keys()


def needs_of(spec: dict[str, Any], pieces: Pieces) -> Callable[[str], set[str]]:
    """What has to stay beside a piece for it to be found in a text."""
    if spec["model"]["type"] != "BPE":
        return lambda piece: set()
    ranks = {pair: rank for rank, pair in enumerate(merges_of(spec))}
    return lambda piece: _merged_on_the_way(piece, pieces, ranks)


def merges_of(spec: dict[str, Any]) -> list[tuple[str, str]]:
    """The merges of BPE, the first first. Older files hold each as one string."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in spec["model"]["merges"])
    return [(one, other) for one, other in pairs]


def joined(one: str, other: str, pieces: Pieces) -> str:
    """What a merge makes."""
    return one + other.removeprefix(pieces.prefix)


def _merged_on_the_way(piece: str, pieces: Pieces, ranks: dict[tuple[str, str], int]) -> set[str]:
    """All pieces that merging goes through from single characters to this one; none where it does not get there."""
    characters = pieces.characters(piece)
    first, last = piece[: piece.index(characters)], piece[piece.index(characters) + len(characters) :]
    symbols = [pieces.prefix + character for character in characters]
    symbols[0] = first + characters[0]
    symbols[-1] += last
    passed = set(symbols)
    while len(symbols) > 1:
        rank, at = min((ranks.get(pair, _NONE), place) for place, pair in enumerate(pairwise(symbols)))
        if rank == _NONE:
            return set()
        symbols[at : at + 2] = [joined(symbols[at], symbols[at + 1], pieces)]
        passed.add(symbols[at])
    return passed - {piece}


def _put_around(processor: dict[str, Any] | None) -> set[str]:
    """The tokens that are put before, between and after texts."""
    if processor is None:
        return set()
    names = {token for own in processor.get("special_tokens", {}).values() for token in own["tokens"]}
    names |= {processor[end][0] for end in ("sep", "cls") if end in processor}
    return names.union(*(_put_around(part) for part in processor.get("processors", [])))


def _is_of_bytes(spec: dict[str, Any]) -> bool:
    """Whether single characters are bytes in disguise, of which none may miss."""
    splitter = spec["pre_tokenizer"] or {}
    parts = [splitter, *splitter.get("pretokenizers", [])]
    normalizer = spec["normalizer"] or {}
    parts += [normalizer, *normalizer.get("normalizers", [])]
    return any(part.get("type") == "ByteLevel" for part in parts)


def _in_singles(piece: str, pieces: Pieces, singles: set[str]) -> bool:
    """Whether the piece can be put together from single characters."""
    characters = pieces.characters(piece)
    if not pieces.prefix:
        return all(character in singles for character in characters)
    continues = piece != characters
    return (pieces.prefix * continues) + characters[0] in singles and all(
        pieces.prefix + character in singles for character in characters[1:]
    )
