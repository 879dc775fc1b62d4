"""Which columns hold what is asked and what is answered: as named, or guessed and said."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from proxtune.data.columns import (
    TEXT_NAMES,
    column_list,
    find_column,
    learned_columns,
    looks_like_row,
    named_column,
    normalized,
    unused_texts,
)
from proxtune.data.table import Table
from proxtune.errors import UserError
from proxtune.tasks.generation.conversations import has_question, holds_turns, is_conversation

# What is asked and what is answered, as text.
KINDS = {"summarize": ("text", "summary"), "translate": ("source", "target"), "instruct": ("prompt", "answer")}

# Best first, lower case, words joined by "_".
TEXTS = (
    *(
        "text",
        "document",
        "article",
        "dialogue",
        "dialog",
        "transcript",
        "content",
        "body",
        "passage",
        "story",
        "report",
    ),
    *("source", "src", "input", "input_text", "inputs", "review", "review_text", "maintext", "description", "abstract"),
)
SUMMARIES = ("summary", "summaries", "highlights", "tldr", "tl;dr", "synopsis")
SHORTER = (
    "abstract",
    "headline",
    "title",
)  # summaries where the column beside them is longer, and classes' texts elsewhere
SOURCES = ("source", "src", "source_text", "input", "input_text", "text", "sentence")
TARGETS = ("target", "tgt", "target_text", "translation", "translated")
PROMPTS = ("prompt", "instruction", "question", "query", "problem", "user", "input", "inputs", "text")
ANSWERS = (
    *("completion", "response", "answer", "output", "outputs", "reply", "solution", "assistant"),
    *("answers", "responses", "completions"),
)
CHOSEN, REJECTED = ("chosen",), ("rejected",)  # of two answers, the one that was preferred is learned
HISTORY = ("history",)  # Alpaca's: questions and answers that came before
INSTRUCTIONS, INPUTS, SYSTEMS = ("instruction",), ("input", "context"), ("system", "system_prompt")
QUESTIONS, PASSAGES = ("question", "query"), ("context", "passage")  # in which the answer is found, as SQuAD has them
TURNS = ("messages", "conversations", "conversation", "turns", "chat")

_PROMPT_NAMES = {"summarize": TEXTS, "translate": SOURCES, "instruct": PROMPTS}
HEADERS = {task: (*names, *TEXT_NAMES, *TURNS) for task, names in _PROMPT_NAMES.items()}  # of a file that only asks
_ANSWER_NAMES = {
    "summarize": (*SUMMARIES, *SHORTER, "target", "tgt", "output"),
    "translate": (*TARGETS, "output", "reference"),
    "instruct": (*ANSWERS, "target", *CHOSEN),
}
_JUDGED = ("label", "labels", "score", "rating", "reward", "weight", "weights", "is_correct", *REJECTED)
_TOOLS = ("tools", "functions", "tool_choice", "available_tools")
_UNUSED_SHOWN = 4  # columns in a note
_FIRST_ROWS = 20  # that are looked at for what a column repeats
_ROW_NAME = re.compile(r"\S*\d\S*\Z")
_LANGUAGE = re.compile(r"[a-z]{2}(_[a-z]{2,4})?\Z")  # "en", "pt_br"


@dataclass(frozen=True, slots=True)
class PairColumns:
    """The chosen columns, and what was guessed, as text. With `turns` there is no `prompt` and no `answer`."""

    turns: str | None = None  # of whole conversations
    prompt: str | None = None
    answer: str | None = None  # None where the rows have no answers
    extra_input: str | None = None  # Alpaca's input, put after what is asked
    system: str | None = None
    history: str | None = None
    note: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns in use."""
        every = (self.turns, self.prompt, self.extra_input, self.system, self.history, self.answer)
        return tuple(name for name in every if name is not None)


def spread_translations(table: Table) -> Table:
    """The table with a column for each language in place of a column `translation` of objects such as {"en": …, "fr": …}."""
    name = find_column(table, ("translation", "translations"))
    first = next((cell for cell in table.columns[name] if isinstance(cell, dict) and cell), None) if name else None
    if name is None or first is None:
        return table
    columns = {other: cells for other, cells in table.columns.items() if other != name}
    for language in first:
        cells: list[object] = [cell.get(language) if isinstance(cell, dict) else None for cell in table.columns[name]]
        columns.setdefault(language, cells)
    return replace(table, columns=columns)


def find_turns(table: Table, name: str | None = None) -> str | None:
    """The column of conversations, `name` or one with a usual name; None where there is none."""
    usual = {normalized(column): column for column in table.columns}
    names = [usual[known] for known in TURNS if known in usual] if name is None else [name]
    found = next((column for column in names if any(map(is_conversation, table.columns[column]))), None)
    chosen = find_column(table, CHOSEN) if found is None and name is None else None
    # of answers alone, whose questions stand in another column, no conversation can be made
    return chosen if chosen is not None and any(map(has_question, table.columns[chosen])) else found


def find_languages(table: Table) -> tuple[str, str] | None:
    """The two columns that are named after languages, in the file's order."""
    names = [name for name in table.columns if _LANGUAGE.match(normalized(name)) and _holds_text(table.columns[name])]
    if len(names) > 2:
        names = [name for name in names if normalized(name) != "id"]
    return (names[0], names[1]) if len(names) == 2 else None


def _holds_text(cells: list[object]) -> bool:
    """Whether most cells say something: a column `id` or `no` of numbers, or of names such as "tw_0", is no language's."""
    texts = [cell.strip() for cell in cells if isinstance(cell, str) and cell.strip()]
    return 2 * sum(_ROW_NAME.match(text) is None for text in texts) > len(texts)


def choose_pair_columns(
    table: Table,
    source: str,
    task: str,
    text_column: str | None,
    label_column: str | None,
    need_answers: bool,
    *,
    learned: bool = False,
) -> PairColumns:
    """The columns by the names given, else by usual names. Raises UserError, with the names there are, for lack of one.

    With `learned` the names are those that a run learned from, and a single column is taken whatever its name.
    """
    prompt: str | None
    note: str | None = None
    if learned and text_column is not None:
        found = learned_columns(table, source, text_column, label_column)
        prompt, answer, note = found.text, found.label, found.note
    else:
        prompt = None if text_column is None else named_column(table, source, text_column, "--text-column")
        answer = None if label_column is None else named_column(table, source, label_column, "--label-column")
    kind, answer_kind = KINDS[task]
    if prompt is not None and prompt == answer:
        problem = f"the {kind} and the {answer_kind} cannot both be column {prompt!r}"
        raise UserError(f"{source}: {problem}; name two different ones")
    turns = find_turns(table, prompt) if task == "instruct" and answer is None else None
    if turns is not None:
        columns = PairColumns(turns=turns, system=find_column(table, SYSTEMS, turns))
        told = [f"conversations from column {turns!r} (guessed; --text-column to change)"] if prompt is None else []
        unused = [] if learned or not need_answers else _unused(table, columns)
        told += [_not_used(unused)] if unused else []
        return replace(columns, note=note or "; ".join(told) or None)

    prompt_guessed, answer_guessed = prompt is None, answer is None
    languages = find_languages(table) if task == "translate" else None
    if answer is None:
        answer = _find_answer_column(table, task, prompt) or _other(languages, prompt, last=True)
    if prompt is None:
        prompt = find_column(table, _PROMPT_NAMES[task], answer) or _other(languages, answer, last=False)
    if prompt is None and table.has_header and looks_like_row(table):
        advice = f"add a header line such as `{kind},{answer_kind}`, or name the columns"
        options = "--text-column and --label-column"
        raise UserError(
            f"{source}: the first line ({column_list(table)}) looks like a row, not a header; {advice} with {options}"
        )
    if prompt is None:
        raise UserError(f"{source}: no {kind} column among {column_list(table)}; name it with --text-column")
    if answer is None and need_answers:
        advice = f"name it with --label-column, or add a column `{answer_kind}`"
        raise UserError(f"{source}: no {answer_kind} column among {column_list(table)}; {advice}")
    columns = PairColumns(prompt=prompt, answer=answer)
    columns = _with_additions(table, columns) if task == "instruct" else columns
    if note is None:
        unused = _unused(table, columns) if need_answers else []
        note = _note(task, prompt if prompt_guessed else None, answer if answer_guessed else None, unused)
    return replace(columns, note=note)


def _find_answer_column(table: Table, task: str, prompt: str | None) -> str | None:
    """The answers' column by its usual name, one that leaves a column to ask from where there is such a one."""
    for name in _ANSWER_NAMES[task]:
        answer = find_column(table, (name,), prompt)
        if answer is not None and (prompt is not None or find_column(table, _PROMPT_NAMES[task], answer) is not None):
            return answer
    return find_column(table, _ANSWER_NAMES[task], prompt)


def _other(languages: tuple[str, str] | None, taken: str | None, last: bool) -> str | None:
    left = [name for name in languages or () if name != taken]
    return left[-1 if last else 0] if left else None


def _with_additions(table: Table, columns: PairColumns) -> PairColumns:
    asked = normalized(columns.prompt or "")
    inputs = INPUTS if asked in INSTRUCTIONS else PASSAGES if asked in QUESTIONS else ()
    added = find_column(table, inputs, columns.answer)
    system, history = (find_column(table, names, columns.answer) for names in (SYSTEMS, HISTORY))
    return replace(
        columns,
        extra_input=added,
        system=None if system == columns.prompt else system,
        history=None if history == columns.prompt else history,
    )


def _unused(table: Table, columns: PairColumns) -> list[str]:
    """Columns that may matter and are not used: of sentences or turns, or of what somebody thought of the answers."""
    texts = [name for name in unused_texts(table, columns.names) if not _is_repeated(table, name, columns.turns)]
    more = [*_other_turns(table, columns), *_said_of_rows(table, columns)]
    return texts + [name for name in dict.fromkeys(more) if name not in texts]


def _is_repeated(table: Table, name: str, turns: str | None) -> bool:
    """Whether a column says again what stands in the conversations, as `prompt` does beside `chosen`."""
    if turns is None:
        return False
    rows = [(str(cell), said) for cell, said in zip(table.columns[name], table.columns[turns], strict=True) if cell]
    return all(cell.strip() in _contents(said) for cell, said in rows[:_FIRST_ROWS])


def _contents(turns: object) -> set[str]:
    """What the turns of a conversation say, as far as they are plain."""
    if not isinstance(turns, list):
        return set()
    return {str(value).strip() for turn in turns if isinstance(turn, dict) for value in turn.values()}


def _other_turns(table: Table, columns: PairColumns) -> list[str]:
    known = (*TURNS, *CHOSEN)
    names = [name for name in table.columns if normalized(name) in known and name not in columns.names]
    return [name for name in names if any(map(holds_turns, table.columns[name]))]


def _said_of_rows(table: Table, columns: PairColumns) -> list[str]:
    """Columns with what somebody thought of the answers, or which tools were there, in the file's order."""
    names = [name for name in table.columns if normalized(name) in (*_JUDGED, *_TOOLS) and name not in columns.names]
    return [name for name in names if any(cell not in (None, "", []) for cell in table.columns[name])]


def _not_used(unused: list[str]) -> str:
    return f"not used: {', '.join(map(repr, unused[:_UNUSED_SHOWN]))}{', ...' if len(unused) > _UNUSED_SHOWN else ''}"


def _note(task: str, prompt: str | None, answer: str | None, unused: list[str]) -> str | None:
    kind, answer_kind = KINDS[task]
    parts = [f"{name} from column {column!r}" for name, column in ((kind, prompt), (answer_kind, answer)) if column]
    options = [option for option, column in (("--text-column", prompt), ("--label-column", answer)) if column]
    told = [f"{', '.join(parts)} (guessed; {'/'.join(options)} to change)"] if parts else []
    if unused:
        told.append(_not_used(unused))
    return "; ".join(told) or None
