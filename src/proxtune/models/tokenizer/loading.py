"""The tokenizer of a model folder: there, whole, and cutting texts as its file says."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxtune.errors import UserError
from proxtune.models.tokenizer.files import (
    check_algorithm,
    check_code,
    check_files,
    check_vocabulary_file,
    first_line,
    has_vocabulary,
    none_in,
    why_unread,
)
from proxtune.models.tokenizer.saving import save_tokenizer, set_option
from proxtune.models.tokenizer.vocabulary import check_embedding, embedding_rows

_ANY_LENGTH = 10**6  # of a text, and more: what is written where there is no longest
_PLAIN_WORDS = (
    "the film of 2024 was a good one, and the 12 others are not"  # which no option for case or accents changes
)


def load_tokenizer(folder: Path) -> Any:
    """The model's own tokenizer.

    Raises UserError for a folder without one, for one that cannot be read or wants code of its own to be run, and for one with
    tokens that the model has no embedding for.
    """
    from transformers import AutoTokenizer

    check_files(folder)
    check_code(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except ImportError as error:
        raise UserError(f"the tokenizer in {folder} needs a package that is missing: {first_line(error)}") from error
    except Exception as error:
        if not has_vocabulary(folder):
            raise none_in(folder) from error
        _check_config(folder)
        raise UserError(f"the tokenizer in {folder} cannot be read: {why_unread(folder, error)}") from error
    _check_length(tokenizer, folder)
    tokenizer = _as_its_file_cuts(tokenizer, folder)
    check_vocabulary_file(tokenizer, folder)
    check_algorithm(tokenizer, folder)
    rows = embedding_rows(folder)
    if rows is not None:
        check_embedding(tokenizer, folder, rows)
    return tokenizer


def _check_config(folder: Path) -> None:
    """Raises UserError where it is the model's config that cannot be read, which transformers asks for the tokenizer's class."""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:
        raise UserError(
            f"transformers cannot read config.json in {folder}: {first_line(error)}; copy that of the base model"
        ) from error


def _check_length(tokenizer: Any, folder: Path) -> None:
    """Raises UserError for a longest text that is no number; one with a fraction is made whole."""
    most = tokenizer.model_max_length
    if isinstance(most, bool) or not isinstance(most, (int, float)):
        raise UserError(
            f"model_max_length in the tokenizer_config.json of {folder} is {most!r}, which is no number; write one there"
        )
    if isinstance(most, float) and 0 < most < _ANY_LENGTH:
        set_option(tokenizer, "model_max_length", int(most))


def _as_its_file_cuts(tokenizer: Any, folder: Path) -> Any:
    """The tokenizer, read from tokenizer.json as that stands where its class would cut plain words otherwise.

    Classes of transformers 5 take the vocabulary of the file and cut texts in their own way, whatever the file says.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    file = folder / "tokenizer.json"
    if getattr(tokenizer, "_tokenizer", None) is None or not file.is_file():
        return tokenizer
    try:
        raw = Tokenizer.from_file(str(file))
        raw.no_truncation()
        raw.no_padding()
        own = raw.encode(_PLAIN_WORDS, add_special_tokens=False)
    except Exception:  # a file of another form, which its class has read all the same
        return tokenizer
    made = tokenizer(_PLAIN_WORDS, add_special_tokens=False, return_offsets_mapping=True)
    if _after_first_word(made["input_ids"], made["offset_mapping"]) == _after_first_word(own.ids, own.offsets):
        return tokenizer
    read, named = PreTrainedTokenizerFast.from_pretrained(str(folder)), type(tokenizer).__name__
    if not _comes_back(read, folder):  # transformers takes that class for this type of model, whatever is saved
        tokenizer.reading_notes = (f"tokenizer.json cuts texts otherwise than {named}, which transformers reads it by",)
        return tokenizer
    read.reading_notes = (
        f"tokenizer.json cuts texts otherwise than {named} does, as it is named: it is read as it stands",
    )
    return read


def _comes_back(tokenizer: Any, folder: Path) -> bool:
    """Whether the tokenizer cuts texts alike once it is saved beside the config of the model in `folder`, and loaded again."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as name:
        saved = Path(name)
        save_tokenizer(tokenizer, saved)
        if (folder / "config.json").is_file():
            shutil.copy(folder / "config.json", saved)
        again = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    return bool(again(_PLAIN_WORDS)["input_ids"] == tokenizer(_PLAIN_WORDS)["input_ids"])


def _after_first_word(ids: Sequence[int], places: Sequence[tuple[int, int]]) -> list[int]:
    """The tokens behind the first of the plain words: options say how a text begins."""
    first = _PLAIN_WORDS.index(" ")
    return [number for number, (_, end) in zip(ids, places, strict=True) if end > first]


def reading_notes(tokenizer: Any) -> tuple[str, ...]:
    """What was found out when the tokenizer was read."""
    return tuple(getattr(tokenizer, "reading_notes", ()))
