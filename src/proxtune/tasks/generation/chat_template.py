"""A model's chat template, made to fit: what it writes before an answer is what an answer follows, in training as in use.

Templates differ in what they take and in what they leave open. Some refuse a system's turn; some end in an open `<think>`, or
leave it to the model to name the channel that it answers in. What has to change is changed in the template itself, which is saved
with the tokenizer, so that later prompts are those that the model was trained with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from proxtune.errors import UserError

ANSWER = "bcd"  # tells an answer from what stands around it
_USER, _ANSWER = {"role": "user", "content": "efg"}, {"role": "assistant", "content": ANSWER}
_BEFORE = {"system": "hij", "assistant": "klm"}  # what may stand before the user's first turn
_EARLIER_WORDS = ("nop", "qrs")
_EARLIER = [{"role": role, "content": words} for role, words in zip(("user", "assistant"), _EARLIER_WORDS, strict=True)]
_OPEN_THOUGHT = re.compile(r"(<[^<>/\s]*think[^<>\s]*>|\[THINK\])\s*\Z", re.IGNORECASE)
_CLOSED_THOUGHT = re.compile(r"<[^<>\s]*/[^<>\s]*think[^<>\s]*>|\[/THINK\]", re.IGNORECASE)
_KNOWS_THINKING = re.compile(r"\benable_thinking\b")

_AS_PARTS = (
    "{%- set as_parts = namespace(turns=[]) %}{%- for turn in messages %}"
    "{%- set content = [{'type': 'text', 'text': turn['content']}] if turn['content'] is string else turn['content'] %}"
    "{%- set as_parts.turns = as_parts.turns + [dict(turn, content=content)] %}{%- endfor %}"
    "{%- set messages = as_parts.turns %}"
)
_FOLDED = (
    "{%- set folded = namespace(kept=[], texts=[], rest=[]) %}{%- for turn in messages %}"
    "{%- if folded.rest or turn['role'] == 'user' %}{%- set folded.rest = folded.rest + [turn] %}"
    "{%- elif turn['role'] in ROLES and turn['content'] is string %}{%- set folded.texts = folded.texts + [turn['content']] %}"
    "{%- else %}{%- set folded.kept = folded.kept + [turn] %}{%- endif %}{%- endfor %}"
    "{%- if folded.texts and folded.rest and folded.rest[0]['content'] is string %}"
    "{%- set first = dict(folded.rest[0], content=(folded.texts + [folded.rest[0]['content']]) | join('\\n\\n')) %}"
    "{%- set messages = folded.kept + [first] + folded.rest[1:] %}{%- endif %}"
)
# Llama's templates take this day where they know none. Any other would come to other prompts when a run is resumed, or used.
_DAY = datetime(2024, 7, 26)
_ASKS_DAY = re.compile(r"strftime_now\(\s*(?:'([^']*)'|\"([^\"]*)\")?")
_PINNED = "{%- macro strftime_now(format) %}"
_NO_THINKING = "{%- set enable_thinking = false %}"
_MARK = re.compile(r"<\|[^<>|\s]+\|>|<(?:start|end)_of_turn>")
_NAMED = 3  # marks in a note
_REFUSED = {
    "system": "the model's chat template takes no system turn: its text goes before the first user turn",
    "assistant": "the model's chat template takes no greeting of the assistant's: its text goes before the first user turn",
}


def has_chat_template(tokenizer: Any) -> bool:
    """Whether the tokenizer has one."""
    return bool(getattr(tokenizer, "chat_template", None))


def fit_chat_template(
    tokenizer: Any, rows: Sequence[Sequence[Mapping[str, str]]] = (), thinks: bool = False
) -> tuple[str, ...]:
    """Change the tokenizer's chat template so far as the model needs; notes on the changes that `rows`, conversations, meet.

    With `thinks` the answers have thoughts of their own in them: then none is closed before they begin.
    Raises UserError for a template that cannot be filled in.
    """
    notes: list[str] = []
    if isinstance(tokenizer.chat_template, Mapping):  # of several, by name
        tokenizer.chat_template = _default_of(tokenizer.chat_template)
    notes += _with_one_day(tokenizer)
    if (
        _filled(tokenizer, [_USER, _ANSWER]) is None
        and _filled_with(tokenizer, _AS_PARTS, [_USER, _ANSWER]) is not None
    ):
        _put_before(tokenizer, _AS_PARTS)
    if not _writes(tokenizer, [_USER], _USER["content"]):  # whatever it says now is said to the user
        raise UserError(
            "the model's chat template leaves out what the user says, and answers would be learned without what was asked; copy "
            "that of the base model, or remove chat_template from tokenizer_config.json"
        )
    for role, text in _BEFORE.items():
        if text in (_filled(tokenizer, [{"role": role, "content": text}, _USER, _ANSWER]) or ""):
            continue
        _put_before(tokenizer, _FOLDED.replace("ROLES", f"['{role}']"))
        if any(_begins_with(row, role) for row in rows):
            notes.append(_REFUSED[role])
    if not writes_answers(tokenizer):
        notes.append(
            "the model's chat template does not write answers as they are: earlier ones may be missing or changed in it"
        )
    elif any(_has_exchange_before(row) for row in rows) and not _writes(tokenizer, [*_EARLIER, _USER], *_EARLIER_WORDS):
        notes.append(
            "the model's chat template leaves earlier turns out: an answer is learned from the user's last alone"
        )
    elif rows and not _writes_whole(tokenizer, max(rows, key=_size)):
        notes.append(
            "the model's chat template leaves out, cuts or changes parts of long conversations: answers are learned without them"
        )
    if not thinks:
        notes += _without_thoughts(tokenizer)
    opening = _between(tokenizer)
    if opening.strip() and not (thinks and "think" in opening.lower()):
        _put_behind(tokenizer, opening)
        notes.append(f"answers follow {opening!r}, as in the model's chat template")
    return tuple(notes)


def spelled_mark_notes(tokenizer: Any) -> tuple[str, ...]:
    """What to say of marks of turns for which the tokenizer has no tokens: the template may be another tokenizer's."""
    written = dict.fromkeys(_MARK.findall(fill(tokenizer, [_USER], for_answer=True)))
    unknown = [mark for mark in written if len(tokenizer(mark, add_special_tokens=False)["input_ids"]) > 2]
    if not unknown:
        return ()
    named = ", ".join(unknown[:_NAMED])
    return (
        f"the tokenizer has no tokens for {named} of the model's chat template: they are read in pieces, as words are",
    )


def fill(tokenizer: Any, turns: Sequence[Mapping[str, str]], for_answer: bool = False) -> str:
    """The template filled in, `for_answer` up to where an answer begins. Raises UserError with what it says against the turns."""
    try:
        return _fill(tokenizer, turns, for_answer)
    except Exception as error:  # it is a program that comes with the model
        words = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
        raise UserError(
            f"the model's chat template cannot be filled in: {words}; change the conversations, or the chat_template of the model"
        ) from error


def writes_answers(tokenizer: Any) -> bool:
    """Whether an answer stands in the filled-in template as it is; some leave the assistant's turns out."""
    return ANSWER in fill(tokenizer, [_USER, _ANSWER])


def answer_space(tokenizer: Any) -> str:
    """The space that the template puts between what it writes for an answer to follow and the answer; most put none."""
    between = _between(tokenizer)
    return between if between.isspace() else ""


def open_thought(tokenizer: Any) -> str:
    """The mark that begins a thought, where what the template writes for an answer ends in one; else ""."""
    found = _OPEN_THOUGHT.search(fill(tokenizer, [_USER], for_answer=True))
    return found[1] if found else ""


def has_thoughts(answers: Sequence[str]) -> bool:
    """Whether most answers come with thoughts of their own."""
    return 2 * sum(bool(_CLOSED_THOUGHT.search(answer)) for answer in answers) > len(answers)


def _writes(tokenizer: Any, turns: Sequence[Mapping[str, str]], *words: str) -> bool:
    """Whether the words stand in the template that is filled in for an answer, in letters of any case."""
    made = fill(tokenizer, turns, for_answer=True).casefold()
    return all(each in made for each in words)


def _size(row: Sequence[Mapping[str, str]]) -> tuple[int, int]:
    return len(row), sum(len(turn["content"]) for turn in row)


def _writes_whole(tokenizer: Any, row: Sequence[Mapping[str, str]]) -> bool:
    """Whether all that is said in a conversation stands in the template, spaces and the case of letters apart.

    Earlier thoughts, which some templates leave out by design, are not looked for.
    """
    made = "".join(fill(tokenizer, row, for_answer=True).casefold().split())
    return all("".join(turn["content"].casefold().split()) in made for turn in row if "think>" not in turn["content"])


def _has_exchange_before(row: Sequence[Mapping[str, str]]) -> bool:
    return sum(turn["role"] == "user" for turn in row) > 1


def _with_one_day(tokenizer: Any) -> list[str]:
    """Let a template that writes today's date always write the same."""
    own = tokenizer.chat_template
    asked = [found[1] or found[2] or "" for found in _ASKS_DAY.finditer(own)]
    if not asked or _PINNED in own:
        return []
    written = [(form, _DAY.strftime(form)) for form in dict.fromkeys(asked) if form]
    cases = "".join(
        f"{{%- if format == {json.dumps(form)} %}}{{{{ {json.dumps(day)} }}}}{{%- else %}}" for form, day in written
    )
    usual = f"{{{{ {json.dumps(_DAY.strftime('%d %b %Y'))} }}}}"
    _put_before(tokenizer, f"{_PINNED}{cases}{usual}{'{%- endif %}' * len(written)}{{%- endmacro %}}")
    return [
        f"the model's chat template writes the date: it is always {_DAY:%d %b %Y}, so that a resumed run reads the same"
    ]


def _without_thoughts(tokenizer: Any) -> list[str]:
    """Let an answer begin without a thought: as the template does where it can be told so, else by closing what it opens."""
    if _NO_THINKING in tokenizer.chat_template:
        return []
    if _KNOWS_THINKING.search(tokenizer.chat_template):
        _put_before(tokenizer, _NO_THINKING)
        if not open_thought(tokenizer):
            return ["the model answers without thinking aloud (enable_thinking=False in its chat template)"]
    opened = open_thought(tokenizer)
    if not opened:
        return []
    closing = "[/THINK]" if opened.startswith("[") else _closed(opened)
    line = "" if fill(tokenizer, [_USER], for_answer=True).endswith("\n") else "\n"
    _put_behind(tokenizer, f"{line}\n{closing}\n\n")
    return [f"the model answers without thinking aloud: {opened} is closed by {closing} before an answer"]


def _closed(opened: str) -> str:
    return opened.replace("<|", "<|/", 1) if opened.startswith("<|") else opened.replace("<", "</", 1)


def _between(tokenizer: Any) -> str:
    """What a filled-in template has between the end of what it writes for an answer and the answer."""
    before, whole = fill(tokenizer, [_USER], for_answer=True), fill(tokenizer, [_USER, _ANSWER])
    return (
        whole[len(before) :].partition(ANSWER)[0] if whole.startswith(before) and ANSWER in whole[len(before) :] else ""
    )


def _begins_with(row: Sequence[Mapping[str, str]], role: str) -> bool:
    before = [turn["role"] for turn in row]
    return role in (before[: before.index("user")] if "user" in before else before)


def _fill(tokenizer: Any, turns: Sequence[Mapping[str, str]], for_answer: bool) -> str:
    made = tokenizer.apply_chat_template(
        [dict(turn) for turn in turns], tokenize=False, add_generation_prompt=for_answer
    )
    return str(made)


def _filled(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> str | None:
    """The template filled in, None where it refuses the turns or leaves one out."""
    try:
        made = _fill(tokenizer, turns, False)
    except Exception:
        return None
    return made if all(turn["content"] in made for turn in turns) else None


def _filled_with(tokenizer: Any, before: str, turns: Sequence[Mapping[str, str]]) -> str | None:
    own = tokenizer.chat_template
    _put_before(tokenizer, before)
    made = _filled(tokenizer, turns)
    tokenizer.chat_template = own
    return made


def _default_of(templates: Mapping[str, str]) -> str:
    if "default" not in templates:
        raise UserError(f"the model has the chat templates {', '.join(templates)} and none called default; leave one")
    return templates["default"]


def _put_before(tokenizer: Any, words: str) -> None:
    tokenizer.chat_template = words + tokenizer.chat_template


def _put_behind(tokenizer: Any, text: str) -> None:
    own = tokenizer.chat_template.removesuffix("\n")  # which the template's own end would have taken
    tokenizer.chat_template = (
        f"{own}{{% if add_generation_prompt %}}{{{{ {json.dumps(text, ensure_ascii=False)} }}}}{{% endif %}}"
    )
