"""The results of a run that generates text: scores beside the base model and the baselines, here and on other files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.cards.generation import CARD
from proxtune.report.formatting import amount, number, part, rows, shorten
from proxtune.report.run_files import RunFiles
from proxtune.report.scores import baseline_name, beats_baselines, main_of, score_name, score_table, score_words
from proxtune.report.sections.answers import answer_rows
from proxtune.report.sections.base import Note, ResultSection, Tile

_FEW_ANSWERS = 50  # whose mean score says little


def headline(result: Mapping[str, Any]) -> str:
    """The main score, and on how many rows."""
    main, count = main_of(result), number(result.get("judged_answers"))
    own = number(part(result, "metrics").get(main))
    if own is None:
        return "No validation result yet"
    return f"{score_name(main)} {score_words(main, own)}" + (f" on {amount(count)} validation rows" if count else "")


def lead(result: Mapping[str, Any]) -> str:
    """The same score of the base model and of the baselines."""
    main = main_of(result)
    parts = [
        f"{score_words(main, row[main])} for {baseline_name(name)}"
        for name, row in part(result, "baselines").items()
        if isinstance(row, dict) and number(row.get(main)) is not None
    ]
    return f"Baselines: {', '.join(parts)}." if parts else ""


def tiles(result: Mapping[str, Any]) -> list[Tile]:
    """The main score and the perplexity, each with the base model's."""
    before, metrics = part(part(result, "baselines"), "untouched"), part(result, "metrics")
    main = main_of(result)
    return [
        Tile(name=name, value=score_words(key, metrics.get(key)), detail=_before(key, before))
        for name, key in ((score_name(main), main), ("Perplexity", "perplexity"))
    ]


def notes(result: Mapping[str, Any]) -> list[Note]:
    """Whether training was worth it, how certain that is, and which rows were cut or left out."""
    found = []
    if result.get("verdict"):
        kind = "bad" if beats_baselines(result) is False else "info"
        found.append(Note(kind=kind, text=shorten(result["verdict"], 600)))
    count, data = number(result.get("judged_answers")), part(result, "data")
    if count and count < _FEW_ANSWERS:
        text = f"The scores rest on only {amount(count)} answers; on other rows they may well differ."
        found.append(Note(kind="warn", text=text))
    cut, longest = number(data.get("truncated_rows")), number(data.get("max_length"))
    if cut:
        total = (number(data.get("train_rows")) or 0) + (number(data.get("validation_rows")) or 0)
        text = f"{amount(cut)} of {amount(total)} rows were longer than {amount(longest)} tokens and were truncated."
        found.append(Note(kind="warn", text=text))
    left_out = [shorten(note, 400) for note in rows(data, "notes") if str(note).startswith("left out ")]
    return found + [Note(kind="warn", text=f"{note[0].upper()}{note[1:]}.") for note in left_out]


def evaluations(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Scores on other files, each with answers to read."""
    return [
        {
            "source": shorten(source, 80),
            "rows": amount(row.get("rows")),
            "cut": amount(row["truncated_rows"]) if number(row.get("truncated_rows")) else "",
            "scores": score_table(row),
            "samples": answer_rows(row, "samples"),
            "main": score_name(main_of(row)),
        }
        for source, row in part(result, "evaluations").items()
        if isinstance(row, dict)
    ]


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    table, others = score_table(run.result), evaluations(run.result)
    return {"scores": table, "evaluations": others} if table or others else None


def _before(key: str, before: Mapping[str, Any]) -> str:
    return f"{score_words(key, before.get(key))} before training" if number(before.get(key)) is not None else ""


SECTION = ResultSection(
    name="generation",
    title="Result",
    anchor="result",
    values=_values,
    headline=headline,
    lead=lead,
    tiles=tiles,
    notes=notes,
    card=CARD,
)
