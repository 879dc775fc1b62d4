"""Which columns hold what is asked and what is answered: as named, or guessed and said."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from proxtune.data.columns import by_name, listed, looks_like_row, named, plain
from proxtune.data.table import Table
from proxtune.errors import PersonError
from proxtune.tasks.generation.conversations import is_conversation

# What is asked and what is answered, in words to show.
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
ANSWERS = ("completion", "response", "answer", "output", "outputs", "reply", "solution", "assistant")
INSTRUCTIONS, INPUTS, SYSTEMS = ("instruction",), ("input", "context"), ("system", "system_prompt")
TURNS = ("messages", "conversations", "conversation", "turns", "chat")

_ASKED = {"summarize": TEXTS, "translate": SOURCES, "instruct": PROMPTS}
_ANSWERED = {
    "summarize": (*SUMMARIES, *SHORTER, "target", "tgt", "output"),
    "translate": (*TARGETS, "output", "reference"),
    "instruct": (*ANSWERS, "target"),
}
_LANGUAGE = re.compile(r"[a-z]{2}(_[a-z]{2,4})?\Z")  # "en", "pt_br"


@dataclass(frozen=True, slots=True)
class PairColumns:
    """The chosen columns, and what was guessed, in words to show. With `turns` there is no `asked` and no `answered`."""

    turns: str | None = None  # of whole conversations
    asked: str | None = None
    answered: str | None = None  # None where the rows have no answers
    added: str | None = None  # Alpaca's input, put after what is asked
    system: str | None = None
    note: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns in use."""
        every = (self.turns, self.asked, self.added, self.system, self.answered)
        return tuple(name for name in every if name is not None)


def spread_translations(table: Table) -> Table:
    """The table with a column for each language in place of a column `translation` of objects such as {"en": …, "fr": …}."""
    name = by_name(table, ("translation", "translations"))
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
    usual = {plain(column): column for column in table.columns}
    names = [usual[known] for known in TURNS if known in usual] if name is None else [name]
    return next((column for column in names if any(map(is_conversation, table.columns[column]))), None)


def find_languages(table: Table) -> tuple[str, str] | None:
    """The two columns that are named after languages, in the file's order."""
    names = [name for name in table.columns if _LANGUAGE.match(plain(name)) and _holds_text(table.columns[name])]
    if len(names) > 2:
        names = [name for name in names if plain(name) != "id"]
    return (names[0], names[1]) if len(names) == 2 else None


def _holds_text(cells: list[object]) -> bool:
    return any(isinstance(cell, str) for cell in cells)


def choose_pair_columns(
    table: Table, source: str, task: str, text_column: str | None, label_column: str | None, need_answers: bool
) -> PairColumns:
    """The columns by the names given, else by usual names. Raises PersonError, with the names there are, for want of one."""
    asked = None if text_column is None else named(table, source, text_column, "--text-column")
    answered = None if label_column is None else named(table, source, label_column, "--label-column")
    kind, answer_kind = KINDS[task]
    if asked is not None and asked == answered:
        problem = f"the {kind} and the {answer_kind} cannot both be column {asked!r}"
        raise PersonError(f"{source}: {problem}; name two different ones")
    turns = find_turns(table, asked) if task == "instruct" and answered is None else None
    if turns is not None:
        note = f"conversations from column {turns!r} (guessed; --text-column to change)" if asked is None else None
        return PairColumns(turns=turns, system=by_name(table, SYSTEMS, turns), note=note)

    asked_guessed, answered_guessed = asked is None, answered is None
    languages = find_languages(table) if task == "translate" else None
    if answered is None:
        answered = _find_answered(table, task, asked) or _other(languages, asked, last=True)
    if asked is None:
        asked = by_name(table, _ASKED[task], answered) or _other(languages, answered, last=False)
    if asked is None and table.has_header and looks_like_row(table):
        advice = f"add a header line such as `{kind},{answer_kind}`, or name the columns"
        options = "--text-column and --label-column"
        raise PersonError(
            f"{source}: the first line ({listed(table)}) looks like a row, not a header; {advice} with {options}"
        )
    if asked is None:
        raise PersonError(f"{source}: no {kind} column among {listed(table)}; name it with --text-column")
    if answered is None and need_answers:
        advice = f"name it with --label-column, or add a column `{answer_kind}`"
        raise PersonError(f"{source}: no {answer_kind} column among {listed(table)}; {advice}")
    note = _note(task, asked if asked_guessed else None, answered if answered_guessed else None)
    columns = PairColumns(asked=asked, answered=answered, note=note)
    return _with_additions(table, columns, asked_guessed) if task == "instruct" else columns


def _find_answered(table: Table, task: str, asked: str | None) -> str | None:
    """The answers' column by its usual name, one that leaves a column to ask from where there is such a one."""
    for name in _ANSWERED[task]:
        answered = by_name(table, (name,), asked)
        if answered is not None and (asked is not None or by_name(table, _ASKED[task], answered) is not None):
            return answered
    return by_name(table, _ANSWERED[task], asked)


def _other(languages: tuple[str, str] | None, taken: str | None, last: bool) -> str | None:
    left = [name for name in languages or () if name != taken]
    return left[-1 if last else 0] if left else None


def _with_additions(table: Table, columns: PairColumns, asked_guessed: bool) -> PairColumns:
    added = None
    if asked_guessed and columns.asked is not None and plain(columns.asked) in INSTRUCTIONS:
        added = by_name(table, INPUTS, columns.answered)
    system = by_name(table, SYSTEMS, columns.answered)
    return replace(columns, added=added, system=None if system == columns.asked else system)


def _note(task: str, asked: str | None, answered: str | None) -> str | None:
    kind, answer_kind = KINDS[task]
    parts = [f"{name} from column {column!r}" for name, column in ((kind, asked), (answer_kind, answered)) if column]
    options = [option for option, column in (("--text-column", asked), ("--label-column", answered)) if column]
    return f"{', '.join(parts)} (guessed; {'/'.join(options)} to change)" if parts else None
