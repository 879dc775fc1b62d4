"""Any source → `Pairs`: what is asked and what should be answered, the bad rows refused or left out."""

from __future__ import annotations

from proxtune.data.bad_rows import BadRow, check_choice, settle
from proxtune.data.examples import Message, Pairs
from proxtune.data.readers.source import read_source, read_source_split
from proxtune.data.table import Table
from proxtune.data.values import is_whole, whole, word
from proxtune.tasks.generation.columns import KINDS, PairColumns, choose_pair_columns, spread_translations
from proxtune.tasks.generation.conversations import part_turns, read_turns

Row = tuple[tuple[Message, ...], str | None]  # what is asked, and the answer where there is one


def read_pairs(
    source: str,
    task: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    bad_rows: str = "fail",
    need_answers: bool = True,
) -> Pairs:
    """The rows of a file, of a folder's train split, or of a hub dataset's train split.

    `task` is summarize, translate or instruct. Columns not named are guessed and the guess is told in `notes`. Rows that
    will not do are refused, or with `bad_rows` "skip" left out and told in `notes`. Without `need_answers` a row needs none,
    and `answers` is empty unless every row has one. Raises PersonError.
    """
    check_choice(bad_rows)
    table = read_source(source, objects=True)
    return _to_pairs(table, source, task, text_column, label_column, bad_rows, need_answers)


def read_pairs_split(
    source: str,
    split: str,
    task: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    bad_rows: str = "fail",
    need_answers: bool = True,
) -> Pairs | None:
    """A folder's or hub dataset's own split, "validation" or "test"; None where it has none. Else as `read_pairs`."""
    check_choice(bad_rows)
    table = read_source_split(source, split, objects=True)
    if table is None:
        return None
    return _to_pairs(table, source, task, text_column, label_column, bad_rows, need_answers)


def _to_pairs(
    table: Table,
    source: str,
    task: str,
    text_column: str | None,
    label_column: str | None,
    bad_rows: str,
    need_answers: bool,
) -> Pairs:
    table = spread_translations(table)
    columns = choose_pair_columns(table, source, task, text_column, label_column, need_answers)
    need_answers = need_answers or label_column is not None
    rows: list[Row] = []
    lines: list[int] = []
    bad: list[tuple[int, str]] = []
    for place, line in enumerate(table.lines):
        try:
            read = _read_row(table, place, columns, KINDS[task], need_answers)
        except BadRow as why:
            bad.append((line, str(why)))
        else:
            rows += read
            lines += [line] * len(read)
    notes = [*table.notes, *([columns.note] if columns.note else []), *settle(table, source, bad, bad_rows)]
    notes += _mend(rows)
    answers = [answer for _, answer in rows if answer is not None]
    answers = answers if len(answers) == len(rows) else []
    return Pairs([asked for asked, _ in rows], answers, source, lines, columns.names, notes)


def _read_row(table: Table, place: int, columns: PairColumns, kinds: tuple[str, str], need_answers: bool) -> list[Row]:
    """The rows of text generation that one row of the table holds. Raises BadRow."""
    cells = {name: table.columns[name][place] for name in columns.names}
    system = _text(cells, columns.system, "system's turn")
    if columns.turns is not None:
        return part_turns(read_turns(cells[columns.turns], system), need_answers)
    kind, answer_kind = kinds
    asked, added = _needed_text(cells, columns.asked, kind), _text(cells, columns.added, "input")
    user = Message("user", asked if added is None else f"{asked}\n\n{added}")
    read = _needed_text if need_answers else _text_if_any
    answer = read(cells, columns.answered, answer_kind)
    return [((user,) if system is None else (Message("system", system), user), answer)]


def _text(cells: dict[str, object], column: str | None, kind: str) -> str | None:
    """What a cell says, None where it says nothing. Raises BadRow for what is no single value."""
    if column is None:
        return None
    try:
        said = word(cells[column])
    except TypeError as error:
        raise BadRow(f"the {kind} in column {column!r} is {error}") from None
    return said if said is not None and said.strip() else None


def _needed_text(cells: dict[str, object], column: str | None, kind: str) -> str:
    said = _text(cells, column, kind)
    if said is None:
        raise BadRow(f"no {kind} in column {column!r}")
    return said


def _text_if_any(cells: dict[str, object], column: str | None, kind: str) -> str | None:
    try:
        return _text(cells, column, kind)
    except BadRow:
        return None


def _mend(rows: list[Row]) -> list[str]:
    """Put whole characters for broken ones in `rows`; the notes on how many there were."""
    broken = [
        place
        for place, (asked, answer) in enumerate(rows)
        if not all(is_whole(turn.content) for turn in asked) or not is_whole(answer or "")
    ]
    for place in broken:
        asked, answer = rows[place]
        turns = tuple(Message(turn.role, whole(turn.content)) for turn in asked)
        rows[place] = (turns, None if answer is None else whole(answer))
    if not broken:
        return []
    return [f"{len(broken):,} rows held half a character (a lone surrogate), now marked by \ufffd"]
