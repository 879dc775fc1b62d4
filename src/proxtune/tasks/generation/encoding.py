"""From turns and answers to token ids, cut to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from proxtune.data.dataset import Encoded, flat
from proxtune.data.examples import Message, Pairs, row_name
from proxtune.errors import UserError
from proxtune.models.control_tokens import prompt_ids, text_ids, written_notes
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
    prompts = _tokens(_prompts(pairs, prompt_format, tokenizer), prompt_format, tokenizer)
    if not pairs.answers:
        return Tokens(prompts, [np.zeros(0, dtype=np.int32)] * len(prompts))
    answers = text_ids(
        [prompt_format.space + _after_thought(answer, prompt_format) for answer in pairs.answers], tokenizer,
        prompt_format.answer_control, add_special_tokens=False, as_target=prompt_format.is_encoder_decoder,
    )  # fmt: skip
    opening, closing = prompt_format.opening, prompt_format.closing
    return Tokens(prompts, [np.concatenate([opening, ids, closing]).astype(np.int32) for ids in answers])


def _prompts(pairs: Pairs, prompt_format: PromptFormat, tokenizer: Any) -> list[str]:
    """What is asked in each row. Raises UserError that names the row whose turns the chat template refuses."""
    found: list[str] = []
    for row, messages in enumerate(pairs.prompts):
        try:
            found.append(prompt_of(messages, prompt_format, tokenizer))
        except UserError as error:
            raise UserError(f"{row_name(pairs, row)}: {error}") from error
    return found


def _after_thought(answer: str, prompt_format: PromptFormat) -> str:
    """An answer without the mark that begins a thought where what is asked ends in it."""
    thought = prompt_format.thought
    return answer[len(thought) :].lstrip("\n") if thought and answer.startswith(thought) else answer


def written_control_notes(parts: Sequence[Pairs], prompt_format: PromptFormat) -> tuple[str, ...]:
    """What to say of rows in which people wrote control tokens."""
    control, answer_control = prompt_format.control, prompt_format.answer_control
    written: list[list[str]] = []
    for pairs in parts:
        for row, messages in enumerate(pairs.prompts):
            asked = [
                name
                for turn in messages
                for name in (answer_control if turn.role == "assistant" else control).found_in(turn.content)
            ]
            written.append(asked + (answer_control.found_in(pairs.answers[row]) if pairs.answers else []))
    return written_notes(written)


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


def all_ids(rows: Encoded) -> tuple[np.ndarray, ...]:
    """The ids of what is asked and of what is answered, each (tokens,)."""
    return (rows.ids,) if rows.answers is None else (rows.ids, rows.answers.ids)


def _encoded(rows: Sequence[np.ndarray]) -> Encoded:
    ids, starts = flat(rows)
    return Encoded(ids=ids, starts=starts, labels=np.zeros(0, dtype=np.int64), truncated=0, objective=ANSWERS)


def _tokens(prompts: list[str], prompt_format: PromptFormat, tokenizer: Any) -> list[np.ndarray]:
    """Ids of what is asked: a template writes its own special tokens, elsewhere the tokenizer adds those that begin a text."""
    control = prompt_format.control
    if prompt_format.uses_chat_template:
        found = prompt_ids(prompts, tokenizer, control)
    else:
        found = text_ids(prompts, tokenizer, control, add_special_tokens=prompt_format.is_encoder_decoder)
    beginning = prompt_format.beginning
    return [np.concatenate([beginning, ids]).astype(np.int32) for ids in found] if beginning else found


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
        own = text_ids([turns[longest].content], tokenizer, prompt_format.control, add_special_tokens=False)[0]
        kept = tokenizer.decode(own[: max(0, len(own) - over)], skip_special_tokens=False)
        turns[longest] = Message(turns[longest].role, kept)
        prompt = _tokens([prompt_of(turns, prompt_format, tokenizer)], prompt_format, tokenizer)[0]
    return prompt[-max(1, room) :]
