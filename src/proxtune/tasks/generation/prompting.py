"""How a model that generates is asked: instruction, chat template, and what ends an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxtune.data.examples import Message, Pairs, Split
from proxtune.models.control_tokens import NO_CONTROL, ControlTokens, control_tokens
from proxtune.models.post_processor import end_texts_with, keeps_post_processor
from proxtune.models.tokenizer.loading import reading_notes
from proxtune.models.tokenizer.saving import set_option
from proxtune.models.tokenizer.vocabulary import unknown_notes
from proxtune.tasks.generation.chat_template import (
    ANSWER,
    answer_space,
    fill,
    fit_chat_template,
    has_chat_template,
    has_thoughts,
    open_thought,
    spelled_mark_notes,
    writes_answers,
)
from proxtune.tasks.generation.languages import NAMES, check_languages, language_pair, mark_languages, set_languages

_LABELS = {"summarize": "Summary", "translate": "Translation", "instruct": "Answer"}
_FIRST_ROWS = 100  # that are looked at for words that the tokenizer does not know
_TOLD_BY_WORDS = ("t5", "switch_transformers")  # what to do with a text (Raffel et al., JMLR 2020)
_T5_WORDS = {"summarize": "summarize:", "translate": "translate:", "instruct": ""}


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How a model is asked: the `instruction` before each text, and the token ids that an answer can end with.

    `opening` and `closing` are what begins and ends an answer that is learned, `label` what stands before one where there is no
    chat template. `control` steers the model, where a prompt is filled in, and `answer_control` where it answers.
    """

    task: str
    instruction: str
    stop_ids: tuple[int, ...]
    closing: tuple[int, ...]
    label: str
    uses_chat_template: bool  # through the tokenizer's chat template
    is_encoder_decoder: bool  # whose answers stand apart
    opening: tuple[int, ...] = ()
    beginning: tuple[int, ...] = ()  # of a text that goes through no template
    space: str = ""  # before an answer
    thought: str = ""  # the mark that has begun one where an answer begins
    control: ControlTokens = NO_CONTROL
    answer_control: ControlTokens = NO_CONTROL

    def notes(self, tokenizer: Any) -> tuple[str, ...]:
        """What was found for want of something better."""
        if tokenizer.eos_token_id is not None or self.closing != (tokenizer.pad_token_id,):
            return ()
        return (f"the tokenizer has no token that ends a text: {tokenizer.pad_token!r} ends an answer",)

    @property
    def form(self) -> str:
        """How users of the model must prompt it: "source" (an encoder-decoder's), "messages" or "prompt"."""
        return "source" if self.is_encoder_decoder else "messages" if self.uses_chat_template else "prompt"


def instruction_for(task: str, pairs: Pairs, config: Any) -> str:
    """What is said before each text, from the task, the length of the answers and what the columns or the path are called.

    Nothing before an encoder-decoder's, unless it is one of T5's kind: the others (BART, Marian, NLLB) were made for one task, or
    know it from codes, and would take the words for a part of the text.
    """
    pair = language_pair(pairs) if task == "translate" else None
    languages = pair and (NAMES[pair[0]], NAMES[pair[1]])
    if config.is_encoder_decoder:
        if not any(kind in config.model_type for kind in _TOLD_BY_WORDS):
            return ""
        return f"translate {languages[0]} to {languages[1]}:" if languages else _T5_WORDS[task]
    if task == "summarize":
        words = float(np.median([len(answer.split()) for answer in pairs.answers]))
        return f"Summarize in {'a few words' if words <= 12 else 'one sentence' if words <= 30 else 'a few sentences'}:"
    if task == "translate":
        return f"Translate from {languages[0]} to {languages[1]}:" if languages else "Translate:"
    return ""


def ready_to_ask(tokenizer: Any, split: Split[Pairs], is_encoder_decoder: bool) -> tuple[str, ...]:
    """Prepare the tokenizer for prompts, in training and in the saved model alike; returns notes on what was changed.

    Raises UserError where it knows next to none of the words, and for a chat template that cannot be filled in.
    """
    train = split.train
    asked = [turn.content for messages in train.prompts[:_FIRST_ROWS] for turn in messages[-1:]]
    notes = reading_notes(tokenizer) + unknown_notes(
        tokenizer, [*asked, *train.answers[:_FIRST_ROWS]][: 2 * _FIRST_ROWS]
    )
    if is_encoder_decoder:
        notes += set_languages(tokenizer, train)
        check_languages(tokenizer, [token for side in put_around(tokenizer) for token in side])
    else:
        set_option(tokenizer, "padding_side", "left")  # else an answer would follow on padding
    if has_chat_template(tokenizer) and not is_encoder_decoder:
        rows = [[{"role": turn.role, "content": turn.content} for turn in messages] for messages in train.prompts]
        notes += fit_chat_template(tokenizer, rows, has_thoughts(train.answers))
        return notes + spelled_mark_notes(tokenizer)
    if not is_encoder_decoder and keeps_post_processor(tokenizer) and put_around(tokenizer)[1]:
        end_texts_with(tokenizer, ())  # an answer follows
    set_option(tokenizer, "split_special_tokens", True)
    return notes


def told_of_asking(tokenizer: Any, prompt_format: PromptFormat, answers: Sequence[str]) -> dict[str, Any]:
    """What `ask_as_before` needs to know beside the model, for `result.json`."""
    told: dict[str, Any] = {"thinks": True} if prompt_format.uses_chat_template and has_thoughts(answers) else {}
    if prompt_format.is_encoder_decoder and hasattr(tokenizer, "tgt_lang"):
        told["languages"] = [str(tokenizer.src_lang), str(tokenizer.tgt_lang)]
    return told


def ask_as_before(tokenizer: Any, told: Mapping[str, Any], is_encoder_decoder: bool) -> None:
    """Set the base model's tokenizer as a run did that told this of its rows."""
    if is_encoder_decoder and "languages" in told and hasattr(tokenizer, "tgt_lang"):
        tokenizer.src_lang, tokenizer.tgt_lang = told["languages"]
        mark_languages(tokenizer)
    elif has_chat_template(tokenizer) and not is_encoder_decoder:
        fit_chat_template(tokenizer, thinks=bool(told.get("thinks")))


def begin_answers(tokenizer: Any, config: Any) -> None:
    """Let config say after which token an encoder-decoder's answers begin: the language's, where no answer has that in it."""
    if not config.is_encoder_decoder:
        return
    _, after = put_around(tokenizer, as_target=True)
    if len(after) > 1 and after[-2] == tokenizer.eos_token_id:  # mBART: text, end, language
        config.decoder_start_token_id = after[-1]
    elif getattr(config, "decoder_start_token_id", None) is None:
        known = (
            getattr(config, "bos_token_id", None),
            tokenizer.bos_token_id,
            tokenizer.cls_token_id,
            tokenizer.pad_token_id,
        )
        config.decoder_start_token_id = next((token for token in known if token is not None), 0)


def forced_language(tokenizer: Any, prompt_format: PromptFormat) -> int | None:
    """The token of the answers' language that an answer must begin with; None for a model of one language."""
    return prompt_format.opening[0] if prompt_format.opening and hasattr(tokenizer, "tgt_lang") else None


def prompt_format_for(
    task: str, instruction: str, tokenizer: Any, config: Any, stop_ids: Sequence[int]
) -> PromptFormat:
    """How to ask a model with this tokenizer; `stop_ids` are the ends of a text that its generation config knows.

    Raises UserError for a chat template that cannot be filled in.
    """
    ends = [stop for stop in (*stop_ids, tokenizer.eos_token_id) if stop is not None]
    is_encoder_decoder = bool(config.is_encoder_decoder)
    known: dict[str, Any] = {"task": task, "instruction": instruction, "label": answer_label(task)}
    if has_chat_template(tokenizer) and not is_encoder_decoder:
        return _by_template(tokenizer, ends, known)
    before, after = put_around(tokenizer, as_target=is_encoder_decoder)
    ends = ends or list(after[:1]) or [tokenizer.pad_token_id]
    control = control_tokens(tokenizer)
    return PromptFormat(
        **known,
        stop_ids=tuple(dict.fromkeys(ends)),
        closing=_closing(after, ends) if is_encoder_decoder else tuple(ends[-1:]),
        uses_chat_template=False,
        is_encoder_decoder=is_encoder_decoder,
        opening=tuple(token for token in before if token != config.decoder_start_token_id)
        if is_encoder_decoder
        else (),
        beginning=() if is_encoder_decoder else before,
        space="" if is_encoder_decoder else " ",
        control=control,
        answer_control=control,
    )


def _by_template(tokenizer: Any, ends: list[int], known: dict[str, Any]) -> PromptFormat:
    """How to ask through the chat template: it says what ends an answer, and which other tokens steer."""
    added = {number: token for number, token in tokenizer.added_tokens_decoder.items() if token.content.strip()}
    whole = fill(tokenizer, [{"role": "user", "content": "a"}, {"role": "assistant", "content": ANSWER}])
    closing: list[int] = []
    behind = whole.rpartition(ANSWER)[2] if writes_answers(tokenizer) else ""
    for token in tokenizer(behind, add_special_tokens=False)["input_ids"]:
        closing.append(token)
        if token in added:
            ends.append(token)
            break
    else:
        closing = []
    ends = ends or [tokenizer.pad_token_id]
    written = [token for token in tokenizer(whole, add_special_tokens=False)["input_ids"] if token in added]
    return PromptFormat(
        **known,
        stop_ids=tuple(dict.fromkeys(ends)),
        closing=tuple(closing or ends[-1:]),
        uses_chat_template=True,
        is_encoder_decoder=False,
        space=answer_space(tokenizer),
        thought=open_thought(tokenizer),
        control=control_tokens(tokenizer, [*written, *ends]),
        answer_control=control_tokens(tokenizer, ends),
    )


def put_around(tokenizer: Any, as_target: bool = False) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the tokenizer puts before and after a text, or one that an encoder-decoder is to write."""
    name = "text_target" if as_target else "text"
    whole, plain = (tokenizer(**{name: "a"}, add_special_tokens=with_them)["input_ids"] for with_them in (True, False))
    for begin in range(len(whole) - len(plain) + 1):
        if whole[begin : begin + len(plain)] == plain:
            return tuple(whole[:begin]), tuple(whole[begin + len(plain) :])
    return (), ()


def _closing(after: Sequence[int], ends: Sequence[int]) -> tuple[int, ...]:
    """What ends an answer: what the tokenizer puts there up to the first end of a text, or an end where it puts none."""
    place = next((i for i, token in enumerate(after) if token in ends), None)
    return tuple(ends[-1:]) if place is None else tuple(after[: place + 1])


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
    """What a model reads before it answers; in a filled-in template control tokens that people wrote have stand-ins.

    Raises UserError for turns that the chat template refuses.
    """
    if prompt_format.is_encoder_decoder:
        text = "\n\n".join(turn.content for turn in messages)
        return f"{prompt_format.instruction} {text}".strip()
    turns = turns_of(messages, prompt_format)
    if prompt_format.uses_chat_template:
        return fill(tokenizer, [_hidden(turn, prompt_format) for turn in turns], for_answer=True)
    return "\n\n".join(turn["content"] for turn in turns) + f"\n\n{prompt_format.label}:"


def _hidden(turn: dict[str, str], prompt_format: PromptFormat) -> dict[str, str]:
    """A turn whose control tokens do not steer; the assistant may have thought aloud."""
    control = prompt_format.control
    own = prompt_format.answer_control if turn["role"] == "assistant" else control
    return turn | {"content": control.hidden(turn["content"], own)}
