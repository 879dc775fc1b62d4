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
class PromptFormat:
    """How a model is asked: the `instruction` before each text, and the token ids that an answer can end with.

    `closing` is what ends an answer that is learned, `label` what stands before one where there is no chat template.
    """

    task: str
    instruction: str
    stop_ids: tuple[int, ...]
    closing: tuple[int, ...]
    label: str
    uses_chat_template: bool  # through the tokenizer's chat template
    is_encoder_decoder: bool  # whose answers stand apart

    @property
    def form(self) -> str:
        """How users of the model must prompt it: "source" (an encoder-decoder's), "messages" or "prompt"."""
        return "source" if self.is_encoder_decoder else "messages" if self.uses_chat_template else "prompt"


def instruction_for(task: str, pairs: Pairs, is_encoder_decoder: bool) -> str:
    """What is said before each text, from the task, the length of the answers and what the columns or the path are called."""
    languages = _languages(pairs) if task == "translate" else None
    if is_encoder_decoder:
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


def prompt_format_for(
    task: str, instruction: str, tokenizer: Any, config: Any, stop_ids: Sequence[int]
) -> PromptFormat:
    """How to ask a model with this tokenizer; `stop_ids` are the ends of a text that its generation config knows."""
    ends = [stop for stop in (*stop_ids, tokenizer.eos_token_id) if stop is not None]
    uses_chat_template = bool(getattr(tokenizer, "chat_template", None)) and not config.is_encoder_decoder
    closing: list[int] = []
    if uses_chat_template:
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
    stop_ids, is_encoder_decoder = tuple(dict.fromkeys(ends)), bool(config.is_encoder_decoder)
    return PromptFormat(
        task=task,
        instruction=instruction,
        stop_ids=stop_ids,
        closing=tuple(closing),
        label=answer_label(task),
        uses_chat_template=uses_chat_template,
        is_encoder_decoder=is_encoder_decoder,
    )


def answer_label(task: str) -> str:
    """What stands before an answer where there is no chat template."""
    return _LABELS.get(task, "Answer")


def turns_of(messages: Sequence[Message], prompt_format: PromptFormat) -> list[dict[str, str]]:
    """The turns as a chat template takes them, the instruction before the last of them."""
    turns = [{"role": turn.role, "content": turn.content} for turn in messages]
    if prompt_format.instruction:
        turns[-1]["content"] = f"{prompt_format.instruction}\n\n{turns[-1]['content']}"
    return turns


def prompt_of(messages: Sequence[Message], prompt_format: PromptFormat, tokenizer: Any) -> str:
    """What a model reads before it answers."""
    if prompt_format.is_encoder_decoder:
        text = "\n\n".join(turn.content for turn in messages)
        return f"{prompt_format.instruction} {text}".strip()
    turns = turns_of(messages, prompt_format)
    if prompt_format.uses_chat_template:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    return "\n\n".join(turn["content"] for turn in turns) + f"\n\n{prompt_format.label}:"
