"""Which task a source is for, from the names of its columns and a look at its first rows."""

from __future__ import annotations

from pathlib import Path

from proxtune.data.columns import LABEL_NAMES, find_column, is_free_text, named_column, named_text_columns, normalized
from proxtune.data.readers.source import read_source
from proxtune.data.table import Table
from proxtune.models.source import json_of
from proxtune.samples import movies_path, translations_path
from proxtune.tasks.generation.answers import several_answers
from proxtune.tasks.generation.columns import (
    ANSWERS,
    CHOSEN,
    INSTRUCTIONS,
    PROMPTS,
    REJECTED,
    SHORTER,
    SOURCES,
    SUMMARIES,
    TARGETS,
    TEXTS,
    find_languages,
    find_turns,
    spread_translations,
)

DEFAULT_TASK = "classify"
_ROWS = 200
_Guess = tuple[str, str]


def guess_task(source: str, *, text_column: str | None = None, label_column: str | None = None) -> _Guess:
    """The task, and why as text: classify unless the columns are those of another.

    Only the first rows are looked at. Raises UserError.
    """
    table = spread_translations(read_source(source, objects=True, max_rows=_ROWS))
    if label_column is not None:
        named_column(table, source, label_column, "--label-column")
    if text_column is not None:
        text_column, second = named_text_columns(table, source, text_column)
        if second is not None:
            return DEFAULT_TASK, f"pairs of texts in columns {text_column!r} and {second!r}"
    prompt_table = _only(table, text_column, besides=label_column)
    answer_table = _only(table, label_column, besides=text_column)
    found = _conversations(table, text_column, label_column) or _prompts(prompt_table, answer_table)
    found = found or _summaries(table, prompt_table, answer_table) or _translations(table, prompt_table, answer_table)
    return found or (DEFAULT_TASK, "no column of summaries, translations or answers in free text")


def sample_for(model_folder: Path) -> tuple[str, Path]:
    """A task that the model in a folder is made for, by its config alone, and bundled data of it."""
    config = json_of(model_folder / "config.json", f"the model in {model_folder}")
    names = [str(name) for name in config.get("architectures") or []]
    if config.get("is_encoder_decoder") or any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names):
        return "translate", translations_path("train")
    return DEFAULT_TASK, movies_path("test")


def _only(table: Table, name: str | None, besides: str | None) -> Table:
    """The table with the one column that the user named, or with all but the one that is named for something else."""
    columns = {column: cells for column, cells in table.columns.items() if column != besides}
    return Table(columns if name is None else {name: table.columns[name]}, table.lines, table.unit)


def _conversations(table: Table, text_column: str | None, label_column: str | None) -> _Guess | None:
    turns = find_turns(table, text_column) if label_column is None else None
    return None if turns is None else ("instruct", f"column {turns!r} holds conversations")


def _prompts(prompt_table: Table, answer_table: Table) -> _Guess | None:
    for prompts, answers, sure in (
        (INSTRUCTIONS, ANSWERS, True),
        (("prompt",), ("completion",), True),
        (PROMPTS, CHOSEN, find_column(answer_table, REJECTED) is not None),
        (PROMPTS, ANSWERS, False),
    ):
        answer = find_column(answer_table, answers)
        prompt = find_column(prompt_table, prompts, answer)
        if prompt is None or answer is None or (not sure and _is_judged(answer_table)):
            continue
        if sure or _answers_freely(answer_table.columns[answer]):
            return "instruct", f"columns {prompt!r} and {answer!r}"
    return None


def _answers_freely(cells: list[object]) -> bool:
    """Whether answers are texts, or lists of them, as SQuAD and others have where several are right."""
    return is_free_text(cells) or any(map(several_answers, cells))


def _is_judged(table: Table) -> bool:
    """Whether a label stands beside questions and answers: whether the one answers the other, say."""
    label = find_column(table, ("label", "labels", "class", "target"))
    return label is not None and is_few_values(table.columns[label])


def _summaries(table: Table, prompt_table: Table, answer_table: Table) -> _Guess | None:
    summary = find_column(answer_table, SUMMARIES)
    text = find_column(prompt_table, TEXTS, summary)
    if summary is not None and text is not None:
        label = find_column(table, LABEL_NAMES, text)
        if label is None or not is_few_values(table.columns[label]):
            return "summarize", f"columns {text!r} and {summary!r}"
    for name in SHORTER:
        shorter = find_column(answer_table, (name,))
        text = find_column(prompt_table, TEXTS, shorter)
        if shorter is None or text is None or not is_free_text(answer_table.columns[shorter]):
            continue
        if {*map(normalized, table.columns)} <= {normalized(shorter), normalized(text), "id"}:
            return "summarize", f"columns {text!r} and {shorter!r}, and no other"
    return None


def _translations(table: Table, prompt_table: Table, answer_table: Table) -> _Guess | None:
    first, last = find_languages(table) or (None, None)
    target = find_column(answer_table, TARGETS) or next(
        (name for name in (last, first) if name in answer_table.columns), None
    )
    source = find_column(prompt_table, SOURCES, target)
    source = source or next((name for name in (first, last) if name in prompt_table.columns and name != target), None)
    if source is None or target is None:
        return None
    if not is_free_text(table.columns[target]):
        return "classify", f"column {target!r} is no free text"
    return "translate", f"columns {source!r} and {target!r}"


def is_few_values(cells: list[object]) -> bool:
    """Whether the cells look like classes: single values that recur."""
    filled = [cell for cell in cells if cell is not None and cell != ""]
    if not filled or any(isinstance(cell, list | dict) for cell in filled):
        return False
    return 2 * len(set(map(str, filled))) <= len(filled)
