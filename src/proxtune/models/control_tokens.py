"""Control tokens ("</s>", "<|im_end|>") steer a model. Where a person wrote one into a text it stays text, letter by letter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

_STAND_IN = re.compile("\ue000([0-9]+)\ue001")  # of the private use area
_STEERING = ("bos_token", "eos_token", "pad_token", "sep_token", "cls_token", "mask_token")
_ROWS_AT_A_TIME = 1024
_NAMED = 3  # in a note


@dataclass(frozen=True)
class ControlTokens:
    """How the control tokens are spelled, with the id of each."""

    ids: Mapping[str, int]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The spellings."""
        return tuple(self.ids)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, sorted(self.names, key=len, reverse=True))) or r"(?!)")

    def found_in(self, text: str) -> list[str]:
        """Those that are written in the text."""
        return self._pattern.findall(text)

    def hidden(self, text: str, some: ControlTokens | None = None) -> str:
        """The text with a stand-in for each (or `some` of them), so that it can go through a template.

        `prompt_ids` puts back what was written.
        """
        pattern = (some or self)._pattern
        return pattern.sub(lambda found: f"\ue000{self.names.index(found[0])}\ue001", text)

    def parted(self, text: str) -> list[str]:
        """The text, cut within each so that no piece has one."""
        return self._pattern.sub(lambda found: f"{found[0][:1]}\ue000{found[0][1:]}", text).split("\ue000")


NO_CONTROL = ControlTokens({})


def control_tokens(tokenizer: Any, more: Iterable[int] = ()) -> ControlTokens:
    """Those that the tokenizer calls special, and `more` that it only knows as added.

    What stands for unknown words alone steers nothing: any text can come to it.
    """
    added = tokenizer.added_tokens_decoder
    steering = {getattr(tokenizer, role, None) for role in _STEERING}
    unknown = None if tokenizer.unk_token in steering else tokenizer.unk_token
    ids = {token.content: number for number, token in added.items() if token.special and token.content != unknown}
    return ControlTokens(ids | {added[number].content: number for number in more if number in added})


def text_ids(
    texts: Sequence[str], tokenizer: Any, control: ControlTokens, *, add_special_tokens: bool, as_target: bool = False
) -> list[np.ndarray]:
    """Ids (tokens,) int32 of texts that people wrote: no control tokens but those that the tokenizer puts around a text.

    `as_target` reads them as what an encoder-decoder is to write.
    """

    def read(some: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        found: list[list[int]] = tokenizer(
            **{"text_target" if as_target else "text": list(some)}, add_special_tokens=add_special_tokens,
            split_special_tokens=True, return_attention_mask=False,
        )["input_ids"]  # fmt: skip
        return found

    found = [ids for some in _pieces(texts) for ids in map(_array, read(some, add_special_tokens))]
    forbidden = set(control.ids.values())
    for row, text in enumerate(texts):
        if not control.found_in(text):
            continue
        plain = read([text], False)[0]
        if forbidden.isdisjoint(plain):  # the tokenizer itself can read them as text
            continue
        parts = [number for ids in read(control.parted(text), False) for number in ids]
        whole = found[row].tolist()
        begin = _place(plain, whole)
        found[row] = _array([*whole[:begin], *parts, *whole[begin + len(plain) :]])
    return found


def prompt_ids(prompts: Sequence[str], tokenizer: Any, control: ControlTokens) -> list[np.ndarray]:
    """Ids of what a template made of texts that are `hidden`: its own control tokens are some, theirs are text."""

    def read(some: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = tokenizer(list(some), add_special_tokens=False, return_attention_mask=False)[
            "input_ids"
        ]
        return found

    found = [ids for some in _pieces(prompts) for ids in map(_array, read(some))]
    for row, prompt in enumerate(prompts):
        parts = _STAND_IN.split(prompt)  # by turns what the template made, and the number of a control token
        if len(parts) == 1:
            continue
        made = [read([part])[0] if part else [] for part in parts[::2]]
        names = [control.names[int(number)] for number in parts[1::2]]
        written = text_ids(names, tokenizer, control, add_special_tokens=False)
        found[row] = np.concatenate(
            [_array(made[0]), *(_array([*w, *m]) for w, m in zip(written, made[1:], strict=True))]
        )
    return found


def _pieces(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Some rows at a time: lists of ids take ten times the memory of arrays."""
    for begin in range(0, len(texts), _ROWS_AT_A_TIME):
        yield texts[begin : begin + _ROWS_AT_A_TIME]


def _array(ids: Sequence[int]) -> np.ndarray:
    return np.asarray(ids, dtype=np.int32)


def written_notes(names: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """What to say of rows, each with the control tokens that are written in its texts."""
    found = [own for own in names if own]
    if not found:
        return ()
    different = list(dict.fromkeys(name for own in found for name in own))
    named = ", ".join(map(repr, different[:_NAMED])) + (", …" if len(different) > _NAMED else "")
    rows = "1 row has" if len(found) == 1 else f"{len(found):,} rows have"
    return (f"{rows} control tokens of the model in the text ({named}); they are read as plain text",)


def _place(part: list[int], whole: list[int]) -> int:
    """Where one list stands in another."""
    return next((i for i in range(len(whole) - len(part) + 1) if whole[i : i + len(part)] == part), 0)
