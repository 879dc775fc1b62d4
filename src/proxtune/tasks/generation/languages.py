"""The languages of two columns: from what columns, file or folder are called, and how a multilingual tokenizer calls them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from proxtune.data.examples import Pairs
from proxtune.errors import UserError

NAMES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip
# What FLORES, and NLLB with it, calls them.
_FLORES = {
    "ar": "arb_Arab", "cs": "ces_Latn", "da": "dan_Latn", "de": "deu_Latn", "el": "ell_Grek", "en": "eng_Latn", "es": "spa_Latn",
    "fi": "fin_Latn", "fr": "fra_Latn", "he": "heb_Hebr", "hi": "hin_Deva", "hu": "hun_Latn", "id": "ind_Latn", "it": "ita_Latn",
    "ja": "jpn_Jpan", "ko": "kor_Hang", "nl": "nld_Latn", "no": "nob_Latn", "pl": "pol_Latn", "pt": "por_Latn",
    "ro": "ron_Latn", "ru": "rus_Cyrl", "sv": "swe_Latn", "tr": "tur_Latn", "uk": "ukr_Cyrl", "vi": "vie_Latn",
    "zh": "zho_Hans",
}  # fmt: skip
_NAMED = 3  # languages in a note
_BY_NAME = {name.lower(): code for code, name in NAMES.items()}
_REGION = re.compile(r"([a-z]{2})[-_][a-z]{2}\Z")  # pt-BR, en_US
_PAIR = re.compile(r"(?<![a-z])([a-z]{2})[-_]([a-z]{2})(?![a-z])")
_CODE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}\Z")


def language_pair(pairs: Pairs) -> tuple[str, str] | None:
    """The languages that two columns, or a folder or file, are named after, by their codes of two letters."""
    columns = tuple(_language(column) for column in pairs.columns[:2])
    for one, other in (*([columns] if len(columns) == 2 else []), *_PAIR.findall(pairs.source.lower())):
        if one != other and one in NAMES and other in NAMES:
            return one, other
    return None


def _language(column: str) -> str:
    """The code of the language that a column is named after: en, English, en-US; what it is called itself otherwise."""
    name = column.strip().lower()
    region = _REGION.match(name)
    return _BY_NAME.get(name) or (region[1] if region else name)


def mark_languages(tokenizer: Any) -> None:
    """Make the tokens of languages special, where the tokenizer's class has forgotten to (M2M100's of transformers 5).

    Answers would begin with their language's otherwise, in plain transformers too. They keep their numbers.
    """
    known = getattr(tokenizer, "lang_code_to_id", None)
    numbers = sorted(known.values()) if isinstance(known, dict) else []
    if not numbers or set(numbers) <= set(tokenizer.all_special_ids):
        return
    if numbers == list(range(len(tokenizer), len(tokenizer) + len(numbers))):  # else new numbers would be given
        tokens = tokenizer.convert_ids_to_tokens(numbers)
        tokenizer.add_special_tokens({"extra_special_tokens": tokens}, replace_extra_special_tokens=False)


def check_languages(tokenizer: Any, put_around: Iterable[int]) -> None:
    """Raises UserError where a text's language is none that the tokenizer has a token for: `put_around` a text stands "unknown".

    transformers 5 makes such a one from NLLB's SentencePiece file alone.
    """
    if hasattr(tokenizer, "src_lang") and tokenizer.unk_token_id in put_around:
        raise UserError(
            f"the tokenizer has no tokens for its languages ({tokenizer.src_lang!r} is unknown to it), as its files do not list "
            "them; copy tokenizer.json and tokenizer_config.json of the base model into its folder"
        )


def target_notes(tokenizer: Any, instruction: str, texts: Iterable[str]) -> tuple[str, ...]:
    """What to say where a model learns from a word before a text which language to answer in (Marian), and texts lack it."""
    codes = tuple(map(str, getattr(tokenizer, "supported_language_codes", None) or ()))
    if not codes or all(f"{instruction} {text}".strip().startswith(codes) for text in texts):
        return ()
    named = ", ".join(codes[:_NAMED]) + (", …" if len(codes) > _NAMED else "")
    advice = f"begin each with one of these, for example by --instruction '{codes[0]}'"
    return (
        f"the model finds the language of its answers before a text ({named}), and not every text here begins so: {advice}",
    )


def set_languages(tokenizer: Any, pairs: Pairs) -> tuple[str, ...]:
    """Tell a tokenizer of many languages which ones texts and answers are in; notes on what was guessed.

    They stay with the tokenizer when it is saved. Other tokenizers are left alone.
    """
    codes = _codes(tokenizer)
    if not codes:
        return ()
    mark_languages(tokenizer)
    columns = [*pairs.columns[:2], "", ""]
    pair = language_pair(pairs) or ("", "")
    given = [_code_of(column, language, codes) for column, language in zip(columns, pair, strict=False)]
    usual = str(tokenizer.src_lang)
    source, target = given[0] or usual, given[1] or (usual if given[0] else tokenizer.tgt_lang or usual)
    tokenizer.src_lang, tokenizer.tgt_lang = source, target
    source, target = str(tokenizer.src_lang), str(tokenizer.tgt_lang)
    advice = "name the columns after their languages, like en and fr, to change"
    if all(given):
        return (f"texts are in {source} and answers in {target} for the model (by the data's names; {advice})",)
    return (
        f"texts are taken for {source} and answers for {target}: the data do not name languages that the model has ({advice})",
    )


def _codes(tokenizer: Any) -> tuple[str, ...]:
    """How the tokenizer calls the languages it has; none for one that knows nothing of languages."""
    if not hasattr(tokenizer, "src_lang") or not hasattr(tokenizer, "tgt_lang"):
        return ()
    known = getattr(tokenizer, "lang_code_to_id", None)
    added = (token.content for token in tokenizer.added_tokens_decoder.values())
    return tuple(known) if known else tuple(filter(_CODE.match, added))


def _code_of(column: str, language: str, codes: Iterable[str]) -> str | None:
    """The model's code for a column that is called so, or for a language of two letters."""
    for code in codes:
        if column and code.strip("_").lower() in (column.lower(), f"{column.lower()}_xx"):
            return code
    wanted = (language, f"{language}_", f"__{language}_", _FLORES.get(language, ""))
    return next((code for code in codes if language and (code in wanted[::3] or code.startswith(wanted[1:3]))), None)
