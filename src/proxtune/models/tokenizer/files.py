"""The files of a tokenizer: whether they are all there and whole, and why transformers cannot read them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from proxtune.errors import UserError
from proxtune.models.source import json_of

_VOCABULARIES = (
    *("tokenizer.json", "vocab.json", "vocab.txt", "vocab-src.json", "dict.txt", "*.model", "*.spm", "*.tiktoken"),
    *("bpe.codes", "tekken.json", "*.tokenizer"),
)
_SENTENCEPIECE = ("*.model", "*.spm")
_TIKTOKEN = re.compile(rb"[A-Za-z0-9+/=]+ \d+\r?\n")  # the first line of a file that has a model's name too
_FIRST_LINE = 256  # bytes
_ALGORITHMS = {1: "Unigram", 2: "BPE"}  # of SentencePiece's numbers; its words and letters are neither
ROLES = ("eos_token", "bos_token", "unk_token", "cls_token", "sep_token")  # that rows are given


def check_files(folder: Path) -> None:
    """Raises UserError for a folder without a tokenizer, or with one of SentencePiece that nothing here can read."""
    if not _found(folder, (*_VOCABULARIES, "tokenizer_config.json")):
        raise none_in(folder)
    vocabularies = {place.name for place in _found(folder, _VOCABULARIES)}
    if vocabularies == {"vocab.json"} and not (folder / "merges.txt").is_file():
        raise UserError(f"the tokenizer in {folder} lacks merges.txt; copy it from the base model")
    pieces = _found(folder, _SENTENCEPIECE)
    if pieces and not (folder / "tokenizer.json").is_file() and not _reads_sentencepiece():
        raise UserError(
            f"the tokenizer in {folder} is a SentencePiece model ({pieces[0].name}): pip install 'proxtune[sentencepiece]'"
        )
    if not (folder / "tokenizer.json").is_file():
        _check_pieces(pieces)


def check_code(folder: Path) -> None:
    """Raises UserError for a tokenizer that brings its own code, and is of no class that transformers has."""
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    path = folder / "tokenizer_config.json"
    told = json_of(path, f"the tokenizer in {folder}") if path.is_file() else {}
    own, kind = told.get("auto_map"), str(told.get("tokenizer_class"))
    if own and ("AutoTokenizer" in own or isinstance(own, list)) and tokenizer_class_from_name(kind) is None:
        raise UserError(
            f"the tokenizer in {folder} ({kind}) brings code of its own, which is never run; choose a model whose tokenizer is "
            "in transformers"
        )


def check_vocabulary_file(tokenizer: Any, folder: Path) -> None:
    """Raises UserError where the tokenizer was made up for lack of its files: transformers gives one without words then."""
    own = dict(getattr(type(tokenizer), "vocab_files_names", None) or {})
    if not own or (folder / "tokenizer.json").is_file():  # bytes need no vocabulary
        return
    if not _found(folder, own.values()) and not _found(folder, ("tekken.json", "*.tiktoken", *_SENTENCEPIECE)):
        raise none_in(folder)


def why_unread(folder: Path, error: Exception) -> str:
    """Why transformers could not make a tokenizer: for one of SentencePiece, which of the class's own tokens are no pieces."""
    files = [] if (folder / "tokenizer.json").is_file() else _found(folder, _SENTENCEPIECE)
    if not files or not _reads_sentencepiece():
        return first_line(error)
    lacking = [token for token in _tokens_by_default(folder) if all(token not in _pieces_of(file) for file in files)]
    if not lacking:
        return f"{first_line(error)}; copy the base model's tokenizer.json beside {files[0].name}"
    return (
        f"{files[0].name} has no piece for {', '.join(lacking)}, which this model puts around texts ({first_line(error)}); it "
        "may belong to another model: copy the tokenizer of the base model, tokenizer.json too"
    )


def has_vocabulary(folder: Path) -> bool:
    """Whether there is a file with a tokenizer's words."""
    return bool(_found(folder, _VOCABULARIES))


def none_in(folder: Path) -> UserError:
    """The error for a folder without a tokenizer."""
    return UserError(
        f"no tokenizer in {folder}; copy that of the base model (tokenizer.json, tokenizer_config.json) there"
    )


def first_line(error: Exception) -> str:
    """What an error says in its first line that is not empty, else its name."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()[:200]


def _found(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return [place for pattern in patterns for place in folder.glob(pattern)]


def _check_pieces(files: Iterable[Path]) -> None:
    """Raises UserError for a SentencePiece file that is damaged or empty: transformers takes some for an empty vocabulary."""
    for file in files:
        if _TIKTOKEN.match(file.read_bytes()[:_FIRST_LINE]):
            continue
        if not _pieces_of(file):
            raise UserError(
                f"{file} is no SentencePiece model that can be read ({file.stat().st_size:,} bytes, empty, damaged or cut off); "
                "copy it from the base model again, or its tokenizer.json beside it"
            )


def _pieces_of(file: Path) -> set[str]:
    """The pieces of a SentencePiece model; none of a file that is no such."""
    from sentencepiece import SentencePieceProcessor

    try:
        model = SentencePieceProcessor(model_file=str(file))
        return {model.id_to_piece(number) for number in range(model.get_piece_size())}
    except Exception:  # RuntimeError, or whatever else its parser raises
        return set()


def check_algorithm(tokenizer: Any, folder: Path) -> None:
    """Raises UserError where the tokenizer's class cuts texts by another algorithm than that of its SentencePiece file.

    Some classes of transformers 5 know one, whatever the file says: texts fall into other pieces of the file's.
    """
    files = [] if (folder / "tokenizer.json").is_file() else _found(folder, _SENTENCEPIECE)
    backend = getattr(tokenizer, "_tokenizer", None)
    if backend is None or len(files) != 1 or not _pieces_of(files[0]):
        return
    learned, taken = _algorithm_of(files[0]), type(backend.model).__name__
    if learned is not None and learned != taken and taken in _ALGORITHMS.values():
        raise UserError(
            f"{files[0]} holds pieces for {learned}, and transformers' {type(tokenizer).__name__} would cut texts by {taken}: "
            "other tokens than the model learned; copy the base model's tokenizer.json beside it"
        )


def _algorithm_of(file: Path) -> str | None:
    """How tokenizers calls the algorithm of a SentencePiece file; None for one that it does not have."""
    from transformers.convert_slow_tokenizer import import_protobuf

    model = import_protobuf().ModelProto()
    model.ParseFromString(file.read_bytes())
    return _ALGORITHMS.get(model.trainer_spec.model_type)


def _tokens_by_default(folder: Path) -> list[str]:
    """What the class of the tokenizer of a folder calls the tokens around a text, where its files call them nothing else."""
    from transformers import TOKENIZER_MAPPING, AutoConfig
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    path = folder / "tokenizer_config.json"
    told = json_of(path, f"the tokenizer in {folder}") if path.is_file() else {}
    try:
        kind: Any = tokenizer_class_from_name(str(told.get("tokenizer_class")))
        if kind is None:
            found = TOKENIZER_MAPPING[type(AutoConfig.from_pretrained(str(folder), trust_remote_code=False))]
            kind = found[0] if isinstance(found, tuple) else found
        known = inspect.signature(kind.__init__).parameters
    except Exception:  # no such class, or no config: others say so
        return []
    tokens = [told.get(role, known[role].default) for role in ROLES if role in known]
    return list(dict.fromkeys(token for token in tokens if isinstance(token, str)))


def _reads_sentencepiece() -> bool:
    try:
        return find_spec("sentencepiece") is not None and find_spec("google.protobuf") is not None
    except ModuleNotFoundError:  # not even the package that protobuf is in
        return False
