"""Any source → `Pairs`: what is asked and what should be answered, the bad rows refused or left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from proxtune.data.bad_rows import BadRow, BadRows, Missing, check_bad_rows, reject_or_skip
from proxtune.data.examples import Message, Pairs
from proxtune.data.header import keep_first_text
from proxtune.data.readers.source import read_source, read_source_split
from proxtune.data.table import Table
from proxtune.data.values import cell_text, is_blank, is_valid_unicode, to_valid_unicode
from proxtune.errors import UserError
from proxtune.tasks.generation.answers import several_answers
from proxtune.tasks.generation.columns import HEADERS, KINDS, PairColumns, choose_pair_columns, spread_translations
from proxtune.tasks.generation.conversations import (
    GREETED,
    Conversation,
    holds_turns,
    read_history,
    read_turns,
    split_turns,
)

Row = tuple[tuple[Message, ...], str | None]  # what is asked, and the answer where there is one


def read_pairs(
    source: str,
    task: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    bad_rows: str = "fail",
    need_answers: bool = True,
    learned: bool = False,
) -> Pairs:
    """The rows of a file, of a folder's train split, or of a hub dataset's train split.

    `task` is summarize, translate or instruct. Columns not named are guessed and the guess is told in `notes`. Rows that
    cannot be used are refused, or with `bad_rows` "skip" left out and told in `notes`. Without `need_answers` a row needs none,
    `answers` is empty unless every row has one, and of rows that ask nothing the places are kept in `blank`. With `learned` the
    columns are those that a run learned from. Raises UserError.
    """
    check_bad_rows(bad_rows)
    table = read_source(source, objects=True)
    return _to_pairs(table, source, task, text_column, label_column, bad_rows, need_answers, learned)


def read_pairs_split(
    source: str,
    split: str,
    task: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    bad_rows: str = "fail",
    need_answers: bool = True,
    learned: bool = False,
) -> Pairs | None:
    """A folder's or hub dataset's own split, "validation" or "test"; None where it has none. Else as `read_pairs`."""
    check_bad_rows(bad_rows)
    table = read_source_split(source, split, objects=True)
    if table is None:
        return None
    return _to_pairs(table, source, task, text_column, label_column, bad_rows, need_answers, learned)


def _to_pairs(
    table: Table,
    source: str,
    task: str,
    text_column: str | None,
    label_column: str | None,
    bad_rows: str,
    need_answers: bool,
    learned: bool,
) -> Pairs:
    table = spread_translations(table)
    if learned and not need_answers:
        table = keep_first_text(table, text_column, HEADERS[task])
    columns = choose_pair_columns(table, source, task, text_column, label_column, need_answers, learned=learned)
    table.check_clear(source, *columns.names)
    keeps_blank_places = not need_answers and label_column is None
    need_answers = need_answers or label_column is not None
    rows: list[Row] = []
    lines: list[int] = []
    bad = BadRows()
    blank: list[int] = []
    told: Counter[str] = Counter()
    used = {name: table.columns[name] for name in columns.names}
    for place, line in enumerate(table.lines):
        try:
            cells = {name: column[place] for name, column in used.items()}
            read = _read_row(cells, columns, KINDS[task], need_answers, told)
        except BadRow as why:
            if keeps_blank_places and (bad_rows == "skip" or isinstance(why, Missing)):
                blank.append(len(rows) + len(blank))
            else:
                bad.add(line, why)
        else:
            rows += read
            lines += [line] * len(read)
    notes = [*table.notes, *([columns.note] if columns.note else []), *reject_or_skip(table, source, bad, bad_rows)]
    if blank and not rows:
        raise UserError(f"{source}: none of {len(blank):,} rows asks anything; give a file with texts")
    if blank:
        notes.append(f"{len(blank):,} of {len(table.lines):,} rows have no text: their answers are left empty")
    notes += _fix_unicode(rows)
    notes += [f"in {count:,} rows {what}" for what, count in told.items()]
    answers = [answer for _, answer in rows if answer is not None]
    answers = answers if len(answers) == len(rows) else []
    return Pairs(
        prompts=[prompt for prompt, _ in rows],
        answers=answers,
        source=source,
        lines=lines,
        columns=columns.names,
        notes=notes,
        text_column=columns.turns or columns.prompt,
        label_column=columns.answer,
        blank=tuple(blank),
    )


def _read_row(
    cells: dict[str, object], columns: PairColumns, kinds: tuple[str, str], need_answers: bool, told: Counter[str]
) -> list[Row]:
    """The rows of text generation that one row of the table holds; counts what is `told` of it. Raises BadRow."""
    system = _text(cells, columns.system, "system's turn")
    if columns.turns is not None:
        conversation = read_turns(cells[columns.turns], system)
        told.update(conversation.told)
        return split_turns(conversation, need_answers)
    if holds_turns(cells.get(columns.prompt or "")):
        return _read_turns_asked(cells, columns, system, need_answers, told)
    kind, answer_kind = kinds
    prompt, extra_input = _needed_text(cells, columns.prompt, kind), _text(cells, columns.extra_input, "input")
    user = Message("user", prompt if extra_input is None else f"{prompt}\n\n{extra_input}")
    before = Conversation(()) if columns.history is None else read_history(cells[columns.history])
    if before.turns:
        told[f"column {columns.history!r} holds earlier turns, which are context"] += 1
    asked = (*([] if system is None else [Message("system", system)]), *before.turns, user)
    answers = _answers(cells, columns.answer, answer_kind, need_answers)
    if len(answers) > 1:
        told["there are several answers: each is learned"] += 1
    return [(asked, answer) for answer in answers]


def _read_turns_asked(
    cells: dict[str, object], columns: PairColumns, system: str | None, need_answers: bool, told: Counter[str]
) -> list[Row]:
    """What is asked as turns, and the answer as turns as well or as a text. Raises BadRow."""
    asked = read_turns(cells[columns.prompt or ""], system)
    answer = None if columns.answer is None else cells[columns.answer]
    if isinstance(answer, str):
        answer = [{"role": "assistant", "content": answer}]
    if answer is None or answer == []:
        told.update(asked.told)
        return split_turns(replace(asked, context=frozenset()), need_answers)
    given = read_turns(answer)
    if asked.turns[-1].role != "user" or given.turns[0].role != "assistant":
        raise BadRow(
            f"column {columns.prompt!r} does not end with user, or {columns.answer!r} not begin with assistant"
        )
    told.update(asked.told)
    told.update(line for line in given.told if line != GREETED)
    return split_turns(asked + replace(given, context=given.context - {0}), need_answers)


def _answers(cells: dict[str, object], column: str | None, kind: str, need_answers: bool) -> list[str | None]:
    """What a cell answers: a text, or each of several. Raises BadRow."""
    several = None if column is None else several_answers(cells[column])
    if several is not None:
        return [*several] if need_answers else [several[0]]
    return [(_needed_text if need_answers else _text_if_any)(cells, column, kind)]


def _text(cells: dict[str, object], column: str | None, kind: str) -> str | None:
    """What a cell says, None where it says nothing. Raises BadRow for what is no single value."""
    if column is None:
        return None
    try:
        text = cell_text(cells[column])
    except TypeError as error:
        raise BadRow(f"the {kind} in column {column!r} is {error}") from None
    return None if text is None or is_blank(text) else text


def _needed_text(cells: dict[str, object], column: str | None, kind: str) -> str:
    text = _text(cells, column, kind)
    if text is None:
        raise Missing(f"no {kind} in column {column!r}")
    return text


def _text_if_any(cells: dict[str, object], column: str | None, kind: str) -> str | None:
    try:
        return _text(cells, column, kind)
    except BadRow:
        return None


def _fix_unicode(rows: list[Row]) -> list[str]:
    """Put whole characters for broken ones in `rows`; the notes on how many there were."""
    broken = [
        place
        for place, (prompt, answer) in enumerate(rows)
        if not all(is_valid_unicode(turn.content) for turn in prompt) or not is_valid_unicode(answer or "")
    ]
    for place in broken:
        prompt, answer = rows[place]
        turns = tuple(Message(turn.role, to_valid_unicode(turn.content)) for turn in prompt)
        rows[place] = (turns, None if answer is None else to_valid_unicode(answer))
    if not broken:
        return []
    return [f"{len(broken):,} rows held half a character (a lone surrogate), now marked by \ufffd"]
