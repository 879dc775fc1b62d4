"""The report's part on generated text as plain values: scores beside baselines, and answers to read."""

from __future__ import annotations

from typing import Any

from proxtune.report.formatting import (
    BASELINES,
    DASH,
    amount,
    beats_baselines,
    main_of,
    number,
    part,
    rows,
    score_words,
    shorten,
)
from proxtune.tasks.generation.metrics import NAMES, in_points

_MOST_SHOWN = 20
_FOLDED_FROM = 240  # characters
_MOST_CHARACTERS = 1200
_FEW = 50  # rows whose mean score says little
_OF_TOKENS = ("loss", "perplexity")  # of the references, on all validation rows


def headline(result: dict[str, Any]) -> str:
    """The main score, and on how many rows."""
    main, count = main_of(result), number(result.get("judged_answers"))
    own = number(part(result, "metrics").get(main))
    if own is None:
        return "No validation result yet"
    return f"{NAMES.get(main, main)} {score_words(main, own)}" + (
        f" on {amount(count)} rows kept aside" if count else ""
    )


def lead(result: dict[str, Any]) -> str:
    """The same of the untouched model and of what takes no model."""
    main = main_of(result)
    has_own = number(part(result, "metrics").get(main)) is not None
    told = [
        f"{score_words(main, row[main])} for {_name(name)}"
        for name, row in part(result, "baselines").items()
        if isinstance(row, dict) and number(row.get(main)) is not None
    ]
    return (("Against " if has_own else "Baselines: ") + " and ".join(told) + ".") if told else ""


def tiles(result: dict[str, Any]) -> list[dict[str, str]]:
    """The main score and the perplexity, each with the untouched model's."""
    before, metrics = part(part(result, "baselines"), "untouched"), part(result, "metrics")
    main = main_of(result)
    return [
        {"name": name, "value": score_words(key, metrics.get(key)), "detail": _was(key, before)}
        for name, key in ((NAMES.get(main, main), main), ("Perplexity", "perplexity"))
    ]


def notes(result: dict[str, Any]) -> list[dict[str, str]]:
    """Whether it was worth it, how sure that is, and which rows were cut or left out."""
    found = []
    if result.get("verdict"):
        kind = "bad" if beats_baselines(result) is False else "info"
        found.append({"kind": kind, "text": shorten(result["verdict"], 600)})
    judged, data = number(result.get("judged_answers")), part(result, "data")
    if judged and judged < _FEW:
        text = f"Only {amount(judged)} answers were judged: a few other rows would change the scores."
        found.append({"kind": "warn", "text": text})
    cut, longest = number(data.get("truncated_rows")), number(data.get("max_length"))
    if cut:
        total = (number(data.get("train_rows")) or 0) + (number(data.get("validation_rows")) or 0)
        text = f"{amount(cut)} of {amount(total)} rows were longer than {amount(longest)} tokens and were cut there."
        found.append({"kind": "warn", "text": text})
    left_out = [shorten(note, 400) for note in rows(data, "notes") if str(note).startswith("left out ")]
    return found + [{"kind": "warn", "text": f"{note[0].upper()}{note[1:]}."} for note in left_out]


def scores(found: dict[str, Any]) -> dict[str, Any] | None:
    """A table of scores: the model's, the untouched model's, the baselines'. `found` is a result or an evaluation."""
    main = main_of(found)
    baselines = {name: row for name, row in part(found, "baselines").items() if isinstance(row, dict)}
    table = [("this model", part(found, "metrics"), True)]
    table += [(_name(name), row, False) for name, row in baselines.items()]
    table = [(name, row, own) for name, row, own in table if row]
    seen = {key for _, row, _ in table for key in row}
    columns = [main, *(key for key in (*NAMES, *_OF_TOKENS) if key != main and key in seen)]
    if not table:
        return None
    best = max((in_points(main, value) for _, row, _ in table if (value := number(row.get(main)))), default=0.0)
    return {
        "main": NAMES.get(main, main),
        "columns": [NAMES.get(key, key) for key in columns],
        "rows": [
            {
                "name": name,
                "own": own,
                "width": round(100 * in_points(main, number(row.get(main)) or 0) / max(best, 1e-9), 2),
                "cells": [score_words(key, row.get(key)) for key in columns],
            }
            for name, row, own in table
        ],
    }


def evaluations(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The same tables of other files, each with answers to read."""
    return [
        {
            "source": shorten(source, 80),
            "rows": amount(row.get("rows")),
            "cut": amount(row["truncated_rows"]) if number(row.get("truncated_rows")) else "",
            "scores": scores(row),
            "samples": answers(row, "samples"),
            "worst": answers(row, "worst"),
        }
        for source, row in part(result, "evaluations").items()
        if isinstance(row, dict)
    ]


def answers(found: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Rows to read under `key`: what was asked, what should be answered, and what was, before and after."""
    main = main_of(found)
    return [
        {
            "line": DASH if number(row.get("line")) is None else str(row["line"]),
            "score": score_words(main, row.get("score")),
            **{name: _folded(row.get(name)) for name in ("asked", "reference", "before", "after")},
        }
        for row in rows(found, key)[:_MOST_SHOWN]
        if isinstance(row, dict)
    ]


def _folded(text: Any) -> dict[str, str]:
    """A text whose `begin` is shown and whose `whole` is folded away, where it is long."""
    if text is None:
        return {"begin": DASH, "whole": ""}
    told = str(text).strip()
    if len(told) <= _FOLDED_FROM:
        return {"begin": told or "(nothing)", "whole": ""}
    return {"begin": shorten(told, _FOLDED_FROM), "whole": told[:_MOST_CHARACTERS]}


def _was(key: str, before: dict[str, Any]) -> str:
    return f"{score_words(key, before.get(key))} before training" if number(before.get(key)) is not None else ""


def _name(name: str) -> str:
    return BASELINES.get(name, shorten(name, 40))
