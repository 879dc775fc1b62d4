"""How a model that generates is asked: instruction, chat template, and what ends an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxtune.data.examples import Message, Pairs

_LABELS = {"summarize": "Summary", "translate": "Translation", "instruct": "Answer"}
_T5_WORDS = {"summarize": "summarize:", "translate": "translate:", "instruct": ""}
_LANGUAGES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip
_PAIR = re.compile(r"(?<![a-z])([a-z]{2})[-_]([a-z]{2})(?![a-z])")


@dataclass(frozen=True, slots=True)
class Asking:
    """How a model is asked: the `instruction` before each text, and the token ids that an answer can end with.

    `closing` is what ends an answer that is learned, `label` what stands before one where there is no chat template.
    """

    task: str
    instruction: str
    stops: tuple[int, ...]
    closing: tuple[int, ...]
    label: str
    by_turns: bool  # through the tokenizer's chat template
    apart: bool  # an encoder-decoder's answers


def instruction_for(task: str, pairs: Pairs, apart: bool) -> str:
    """What is said before each text, from the task, the length of the answers and what the columns or the path are called."""
    languages = _languages(pairs) if task == "translate" else None
    if apart:
        return f"translate {languages[0]} to {languages[1]}:" if languages else _T5_WORDS[task]
    if task == "summarize":
        words = float(np.median([len(answer.split()) for answer in pairs.answers]))
        return f"Summarize in {'a few words' if words <= 12 else 'one sentence' if words <= 30 else 'a few sentences'}:"
    if task == "translate":
        return f"Translate from {languages[0]} to {languages[1]}:" if languages else "Translate:"
    return ""


def _languages(pairs: Pairs) -> tuple[str, str] | None:
    """The languages that two columns, or a folder or file, are named after."""
    for one, other in (tuple(pairs.columns[:2]), *_PAIR.findall(pairs.source.lower())):
        if one != other and one in _LANGUAGES and other in _LANGUAGES:
            return _LANGUAGES[one], _LANGUAGES[other]
    return None


def asking_of(task: str, instruction: str, tokenizer: Any, config: Any, stops: Sequence[int]) -> Asking:
    """How to ask a model with this tokenizer; `stops` are the ends of a text that its generation config knows."""
    ends = [stop for stop in (*stops, tokenizer.eos_token_id) if stop is not None]
    by_turns = bool(getattr(tokenizer, "chat_template", None)) and not config.is_encoder_decoder
    closing: list[int] = []
    if by_turns:
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bcd"}]
        after = str(tokenizer.apply_chat_template(turns, tokenize=False)).rpartition("bcd")[2]
        for token in tokenizer(after, add_special_tokens=False)["input_ids"]:
            closing.append(token)
            if token in tokenizer.all_special_ids:
                ends.append(token)
                break
        else:
            closing = []
    closing = closing or ends[-1:]
    stops, apart = tuple(dict.fromkeys(ends)), bool(config.is_encoder_decoder)
    return Asking(task, instruction, stops, tuple(closing), label_before(task), by_turns, apart)


def label_before(task: str) -> str:
    """What stands before an answer where there is no chat template."""
    return _LABELS.get(task, "Answer")


def turns_of(asked: Sequence[Message], asking: Asking) -> list[dict[str, str]]:
    """The turns as a chat template takes them, the instruction before the last of them."""
    turns = [{"role": turn.role, "content": turn.content} for turn in asked]
    if asking.instruction:
        turns[-1]["content"] = f"{asking.instruction}\n\n{turns[-1]['content']}"
    return turns


def prompt_of(asked: Sequence[Message], asking: Asking, tokenizer: Any) -> str:
    """What a model reads before it answers."""
    if asking.apart:
        text = "\n\n".join(turn.content for turn in asked)
        return f"{asking.instruction} {text}".strip()
    turns = turns_of(asked, asking)
    if asking.by_turns:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    return "\n\n".join(turn["content"] for turn in turns) + f"\n\n{asking.label}:"
