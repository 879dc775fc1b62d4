"""The tokenizer of a model folder: there, the model's own, with a padding token."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.errors import UserError
from proxtune.models.post_processor import has_own_ending, keeps_post_processor
from proxtune.models.source import json_of

_VOCABULARIES = (
    *("tokenizer.json", "vocab.json", "vocab.txt", "vocab-src.json", "dict.txt", "*.model", "*.spm", "*.tiktoken"),
    *("bpe.codes", "tekken.json", "*.tokenizer"),
)
_SENTENCEPIECE = ("*.model", "*.spm")
_TIKTOKEN = re.compile(rb"[A-Za-z0-9+/=]+ \d+\r?\n")  # the first line of a file that has a model's name too
_FIRST_LINE = 256  # bytes
_ALGORITHMS = {1: "Unigram", 2: "BPE"}  # of SentencePiece's numbers; its words and letters are neither
_ROLES = ("eos_token", "bos_token", "unk_token", "cls_token", "sep_token")  # that rows are given
_FILLERS = ("eos_token", "bos_token", "unk_token", "sep_token", "cls_token")  # of a padding token, the best first
_NEW_FILLER = "<|pad|>"
_ANY_LENGTH = 10**6  # of a text, and more: what is written where there is no longest
_FIRST_TEXTS = 200
_PLAIN_WORDS = (
    "the film of 2024 was a good one, and the 12 others are not"  # which no option for case or accents changes
)
_MOST_UNKNOWN, _MANY_UNKNOWN = 0.99, 0.1  # of their tokens; words that are known may tell classes apart all the same


def load_tokenizer(folder: Path) -> Any:
    """The model's own tokenizer.

    Raises UserError for a folder without one, for one that cannot be read or wants code of its own to be run, and for one with
    tokens that the model has no embedding for.
    """
    from transformers import AutoTokenizer

    _check_files(folder)
    _check_code(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except ImportError as error:
        raise UserError(f"the tokenizer in {folder} needs a package that is missing: {_words(error)}") from error
    except Exception as error:
        if not _found(folder, _VOCABULARIES):
            raise _none_in(folder) from error
        _check_config(folder)
        raise UserError(f"the tokenizer in {folder} cannot be read: {_why_unread(folder, error)}") from error
    _check_length(tokenizer, folder)
    tokenizer = _as_its_file_cuts(tokenizer, folder)
    _check_vocabulary(tokenizer, folder)
    _check_algorithm(tokenizer, folder)
    rows = embedding_rows(folder)
    if rows is not None:
        _check_embedding(tokenizer, folder, rows)
    return tokenizer


def _check_config(folder: Path) -> None:
    """Raises UserError where it is the model's config that cannot be read, which transformers asks for the tokenizer's class."""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:
        raise UserError(
            f"transformers cannot read config.json in {folder}: {_words(error)}; copy that of the base model"
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


def _words(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()[:200]


def _found(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return [place for pattern in patterns for place in folder.glob(pattern)]


def _none_in(folder: Path) -> UserError:
    return UserError(
        f"no tokenizer in {folder}; copy that of the base model (tokenizer.json, tokenizer_config.json) there"
    )


def _check_code(folder: Path) -> None:
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


def _check_files(folder: Path) -> None:
    """Raises UserError for a folder without a tokenizer, or with one of SentencePiece that nothing here can read."""
    if not _found(folder, (*_VOCABULARIES, "tokenizer_config.json")):
        raise _none_in(folder)
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


def _check_algorithm(tokenizer: Any, folder: Path) -> None:
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


def _why_unread(folder: Path, error: Exception) -> str:
    """Why transformers could not make a tokenizer: for one of SentencePiece, which of the class's own tokens are no pieces."""
    files = [] if (folder / "tokenizer.json").is_file() else _found(folder, _SENTENCEPIECE)
    if not files or not _reads_sentencepiece():
        return _words(error)
    lacking = [token for token in _tokens_by_default(folder) if all(token not in _pieces_of(file) for file in files)]
    if not lacking:
        return f"{_words(error)}; copy the base model's tokenizer.json beside {files[0].name}"
    return (
        f"{files[0].name} has no piece for {', '.join(lacking)}, which this model puts around texts ({_words(error)}); it may "
        "belong to another model: copy the tokenizer of the base model, tokenizer.json too"
    )


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
    tokens = [told.get(role, known[role].default) for role in _ROLES if role in known]
    return list(dict.fromkeys(token for token in tokens if isinstance(token, str)))


def _reads_sentencepiece() -> bool:
    try:
        return find_spec("sentencepiece") is not None and find_spec("google.protobuf") is not None
    except ModuleNotFoundError:  # not even the package that protobuf is in
        return False


def _check_vocabulary(tokenizer: Any, folder: Path) -> None:
    """Raises UserError where the tokenizer was made up for lack of its files: transformers gives one without words then."""
    own = dict(getattr(type(tokenizer), "vocab_files_names", None) or {})
    if not own or (folder / "tokenizer.json").is_file():  # bytes need no vocabulary
        return
    if not _found(folder, own.values()) and not _found(folder, ("tekken.json", "*.tiktoken", *_SENTENCEPIECE)):
        raise _none_in(folder)


def _check_embedding(tokenizer: Any, folder: Path, rows: int) -> None:
    """Raises UserError for tokens without a row that a text can become or is given; another padding token can be chosen."""
    if not getattr(type(tokenizer), "vocab_files_names", None):  # bytes
        return
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows:
        tokenizer.pad_token = None
    given = {str(getattr(tokenizer, role)) for role in _ROLES if getattr(tokenizer, role, None) is not None}
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


def agree_on_padding(tokenizer: Any, config: Any) -> tuple[str, ...]:
    """One padding token for tokenizer and config, chosen among the tokenizer's own where it names none; notes on the choice.

    A decoder's classifier looks for the last token that is none, so config and tokenizer must mean the same.
    Raises UserError where there is nothing to choose from.
    """
    notes: tuple[str, ...] = ()
    own = getattr(config, "pad_token_id", None)
    known = isinstance(own, int) and own in tokenizer.added_tokens_decoder
    if tokenizer.pad_token_id is None:
        filler = tokenizer.added_tokens_decoder[own].content if known else _filler(tokenizer, config)
        if not known:
            notes = (f"the tokenizer has no padding token that the model knows: {filler!r} fills rows up",)
        tokenizer.add_special_tokens({"pad_token": filler})
    if not known or _is_decoder(config):
        config.pad_token_id = tokenizer.pad_token_id
    return notes


def _filler(tokenizer: Any, config: Any) -> str:
    """A token to pad with: one that ends, begins or marks, never one that stands for words; a new one where there is none such
    and the embedding has a row to spare.
    """
    named = [str(getattr(tokenizer, role)) for role in _FILLERS if getattr(tokenizer, role, None) is not None]
    special = [token.content for _, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
    if named or special:
        return (named or special)[0]
    if len(tokenizer) < int(getattr(config, "vocab_size", None) or 0):
        return _NEW_FILLER
    raise UserError(
        "the tokenizer has neither a padding token nor one that ends a text, and the model no row for a new one; name a "
        "pad_token in tokenizer_config.json"
    )


def _is_decoder(config: Any) -> bool:
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in getattr(config, "architectures", None) or [])


def set_option(tokenizer: Any, name: str, value: Any) -> None:
    """Set one of the tokenizer's options so that it is saved with it."""
    setattr(tokenizer, name, value)
    tokenizer.init_kwargs[name] = value


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


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer so that it comes back as it is, in transformers 4.57 too. Raises OSError.

    Some classes build anew at each load what is put around a text (GPT-NeoX's, Llama's in transformers 4), and the flags that
    tell them how are not saved. The class that reads tokenizer.json as it stands is named instead.
    """
    tokenizer.save_pretrained(str(folder))
    path = folder / "tokenizer_config.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told["model_input_names"] = list(tokenizer.model_input_names)  # which other versions have other defaults for
    extra = told.get("extra_special_tokens")
    if isinstance(extra, list):  # transformers 4.57 takes a dict of that name
        told["additional_special_tokens"] = told.pop("extra_special_tokens")
    if keeps_post_processor(tokenizer) and _needs_plain_class(tokenizer, told):
        told["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(told, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _needs_plain_class(tokenizer: Any, told: Mapping[str, Any]) -> bool:
    flags = {"add_bos_token", "add_eos_token"} & tokenizer.init_kwargs.keys()
    return has_own_ending(tokenizer) or bool(flags) or told["tokenizer_class"] == "TokenizersBackend"
