"""From turns and answers to token ids, cut to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from proxtune.data.dataset import Encoded, flat
from proxtune.data.examples import Message, Pairs
from proxtune.tasks.generation.objective import ANSWERS
from proxtune.tasks.generation.prompting import PromptFormat, prompt_of

LONGEST = 1024  # tokens of a row, unless --max-length asks for more
_TRIES = 6  # to shorten a text until it fits


@dataclass(frozen=True, slots=True)
class Tokens:
    """Rows as ids, whole: what is asked, and the answers (empty where there are none)."""

    prompts: list[np.ndarray]
    answers: list[np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, (rows,)."""
        pairs = zip(self.prompts, self.answers, strict=True)
        return np.asarray([len(prompt) + len(answer) for prompt, answer in pairs], dtype=np.int64)


def encode_pairs(pairs: Pairs, prompt_format: PromptFormat, tokenizer: Any, max_length: int) -> Encoded:
    """Tokenise every row once, what is asked cut so that with its answer it has at most `max_length` tokens.

    Counts the rows that were cut. Rows without answers are what a model is to continue from.
    """
    return fit_to_length(tokens_of(pairs, prompt_format, tokenizer), pairs, prompt_format, tokenizer, max_length)


def tokens_of(pairs: Pairs, prompt_format: PromptFormat, tokenizer: Any) -> Tokens:
    """Tokenise every row once; an answer with what ends it."""
    prompts = _tokens(
        [prompt_of(messages, prompt_format, tokenizer) for messages in pairs.prompts], prompt_format, tokenizer
    )
    if not pairs.answers:
        return Tokens(prompts, [np.zeros(0, dtype=np.int32)] * len(prompts))
    space = "" if prompt_format.uses_chat_template or prompt_format.is_encoder_decoder else " "
    answers = _ids([space + answer for answer in pairs.answers], tokenizer)
    return Tokens(prompts, [np.append(ids, prompt_format.closing).astype(np.int32) for ids in answers])


def fit_to_length(
    tokens: Tokens, pairs: Pairs, prompt_format: PromptFormat, tokenizer: Any, max_length: int
) -> Encoded:
    """Rows of at most `max_length` tokens, an encoder-decoder's on either side; counts the rows that were cut."""
    prompts, answers = list(tokens.prompts), list(tokens.answers)
    truncated = 0
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        most = max_length if prompt_format.is_encoder_decoder else max_length // 2
        room = max_length if prompt_format.is_encoder_decoder else max_length - min(len(answer), most)
        if len(answer) <= most and len(prompt) <= room:
            continue
        truncated += 1
        answers[row] = answer[:most]  # which then does not learn where to end
        prompts[row] = _shortened(pairs.prompts[row], prompt_format, tokenizer, prompt, room)
    if prompt_format.is_encoder_decoder:
        begins = np.zeros(len(prompts), dtype=np.int64)
        return replace(_encoded(prompts), truncated=truncated, begins=begins, answers=_encoded(answers))
    begins = np.fromiter((len(prompt) for prompt in prompts), dtype=np.int64, count=len(prompts))
    rows = [np.concatenate(pair) for pair in zip(prompts, answers, strict=True)]
    return replace(_encoded(rows), truncated=truncated, begins=begins)


def _encoded(rows: Sequence[np.ndarray]) -> Encoded:
    ids, starts = flat(rows)
    return Encoded(ids=ids, starts=starts, labels=np.zeros(0, dtype=np.int64), truncated=0, objective=ANSWERS)


def _tokens(prompts: list[str], prompt_format: PromptFormat, tokenizer: Any) -> list[np.ndarray]:
    """Ids of what is asked: a template writes its own special tokens, elsewhere the tokenizer adds those that begin a text."""
    found = _ids(prompts, tokenizer, add_special_tokens=not prompt_format.uses_chat_template)
    if prompt_format.is_encoder_decoder:
        return found
    return [
        ids[:-1] if len(ids) > 1 and ids[-1] in prompt_format.stop_ids and not prompt_format.uses_chat_template else ids
        for ids in found
    ]


def _ids(texts: list[str], tokenizer: Any, add_special_tokens: bool = False) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for begin in range(0, len(texts), 1024):
        some = tokenizer(
            texts[begin : begin + 1024], add_special_tokens=add_special_tokens, return_attention_mask=False
        )
        found += [np.asarray(ids, dtype=np.int32) for ids in some["input_ids"]]
    return found


def _shortened(
    messages: Sequence[Message], prompt_format: PromptFormat, tokenizer: Any, prompt: np.ndarray, room: int
) -> np.ndarray:
    """What is asked with the end of its longest turn left out, in at most `room` tokens."""
    turns = list(messages)
    for _ in range(_TRIES):
        over = len(prompt) - room
        if over <= 0:
            return prompt
        longest = max(range(len(turns)), key=lambda i: len(turns[i].content))
        own = _ids([turns[longest].content], tokenizer)[0]
        kept = tokenizer.decode(own[: max(0, len(own) - over)], skip_special_tokens=False)
        turns[longest] = Message(turns[longest].role, kept)
        prompt = _tokens([prompt_of(turns, prompt_format, tokenizer)], prompt_format, tokenizer)[0]
    return prompt[-max(1, room) :]
