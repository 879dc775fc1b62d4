"""make bench-race: what `auto` comes to beside each method alone, in the same limits; on test rows, one core for each run.

A cell is a data set, a model, `--memory` and `--time`. In it `auto` and each method that can be asked for run once for each seed,
as a user types them, and `proxtune evaluate` scores what comes out on the test rows that no run has seen. The regret is what the
best method alone has more than `auto`, in points. "training" is the share of `--time` in which the run trained, the evaluations
on the way included; "seconds" and "peak" are those of the whole command, seen from outside.

    --data FOLDER           of the data sets: NAME/train.csv and NAME/test.csv, or .jsonl
    --cells NAME,…          of those below; all by default
    --ways auto,…           all by default: auto and every method
    --seeds 0
    --core N                the core that all runs keep to
    --log FILE              a line of JSON for each run; what it has already is not run again, so that cells may be run on several
                            days: `benchmarks/races.jsonl` by default, which is kept
    --no-record             only run; several logs together (`--log A,B`) make the record without running
    --note TEXT             what else the record should say of the machine
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from harness import HERE, commit, processor, proxtune, table, write_record
from proxtune.storage.event_log import read_events
from proxtune.tasks.generation.scoring.metrics import in_points


@dataclass(frozen=True, slots=True)
class Cell:
    """A data set, a model and the limits."""

    data: str
    model: str
    memory: str
    time: str

    @property
    def name(self) -> str:
        return f"{self.data}/{self.memory}/{self.time}"


CELLS = (
    Cell("banking77", "minilm", "1GB", "100s"),
    Cell("banking77", "minilm", "650MB", "3min"),
    Cell("banking77", "minilm", "1GB", "5min"),
    Cell("emotion", "minilm", "1GB", "100s"),
    Cell("emotion", "minilm", "650MB", "3min"),
    Cell("movies", "minilm", "1GB", "40s"),
    Cell("movies", "minilm", "1GB", "3min"),
    Cell("movies", "minilm", "600MB", "100s"),
    Cell("en-fr", "smollm2", "2GB", "3min"),
    Cell("en-fr", "smollm2", "2GB", "12min"),
    Cell("synopsis", "smollm2", "1GB", "3min"),
    Cell("synopsis", "smollm2", "2GB", "12min"),
)
_LAP = 0.08 / 3  # of the time, which each of three contenders of a race has
WAYS = {
    "minilm": ("auto", "probe", "layers", "lora", "full", "nno"),
    "smollm2": ("auto", "layers", "lora", "full", "nno"),
}


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--data")
    words.add_argument("--cells", default=",".join(cell.name for cell in CELLS))
    words.add_argument("--ways", default="")
    words.add_argument("--seeds", default="0")
    words.add_argument("--core", type=int)
    words.add_argument("--log", default=str(HERE / "races.jsonl"))
    words.add_argument("--no-record", action="store_true")
    words.add_argument("--note", default="")
    asked = words.parse_args()
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    logs = [Path(name) for name in asked.log.split(",") if name]
    found = [json.loads(line) for log in logs if log.exists() for line in log.read_text().splitlines()]
    if asked.data:
        known = {(one["cell"], one["way"], one["seed"]) for one in found}
        for cell, way, seed in _runs(asked):
            if (cell.name, way, seed) in known:
                continue
            found.append(_run(cell, way, seed, Path(asked.data)))
            sys.stderr.write(f"{found[-1]}\n")
            if logs:
                with logs[0].open("a") as file:
                    file.write(json.dumps(found[-1]) + "\n")
    if not asked.no_record:
        _record(found, asked.note)


def _runs(asked: Any) -> list[tuple[Cell, str, int]]:
    wanted = asked.cells.split(",")
    return [
        (cell, way, int(seed))
        for cell in CELLS
        if cell.name in wanted
        for seed in asked.seeds.split(",")
        for way in (asked.ways.split(",") if asked.ways else WAYS[cell.model])
    ]


def _run(cell: Cell, way: str, seed: int, data: Path) -> dict[str, Any]:
    train, test = (next(data.glob(f"{cell.data}/{part}.*")) for part in ("train", "test"))
    kept: dict[str, Any] = {"cell": cell.name, "way": way, "seed": seed}
    kept |= {"date": date.today().isoformat(), "commit": commit(), "processor": processor()}
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "run")
        limits = ("--memory", cell.memory, "--time", cell.time, "--seed", str(seed))
        seen = proxtune("train", str(train), "--model", cell.model, "--method", way, *limits, "--out", out)
        kept |= {"status": seen.status, "seconds": round(seen.seconds, 1), "peak_bytes": seen.peak_bytes}
        if seen.status != 0:
            return kept | {"words": seen.words.strip().splitlines()[-1][:200]}
        result = seen.result
        tested = proxtune("evaluate", out, str(test))
        events = read_events(Path(out))
    metric, baselines = result["main_metric"], tested.result.get("baselines") or {}
    by_phase = result["measured"]["seconds_by_phase"]
    return kept | {
        "method": result["method"], "expected": result["plan"]["expected"],
        "laps": [event for event in events if event.get("kind") == "race"],
        "early_loss": _early_loss(events, result["budget"]["time"]),
        "metric": metric, "test": _points(metric, tested.result.get("metrics") or {}),
        "baselines": {name: _points(metric, scores) for name, scores in baselines.items()},
        "limit_seconds": result["budget"]["time"], "by_phase": by_phase, "steps": result["steps"],
        "training_share": round((by_phase.get("train", 0.0) + _kept_seconds(events)) / result["budget"]["time"], 3),
    }  # fmt: skip


def _kept_seconds(events: list[dict[str, Any]]) -> float:
    """Of training in a race, whose winner went on from its steps."""
    first = next((event["step"] for event in events if event.get("kind") == "step"), 1)
    kept = [lap for lap in events if lap.get("kind") == "race" and lap["steps"] == first - 1 > 0]
    return max((lap["seconds"][-1] for lap in kept), default=0.0)


def _early_loss(events: list[dict[str, Any]], limit_seconds: float) -> float | None:
    """The loss of training rows at the end of what would be a lap: the mean of its last quarter of steps."""
    steps = [event for event in events if event.get("kind") == "step"]
    lap = [step["loss"] for step in steps if step["seconds"] - steps[0]["seconds"] <= _LAP * limit_seconds]
    return statistics.fmean(lap[-max(1, len(lap) // 4) :]) if lap else None


def _points(metric: str, scores: dict[str, float]) -> float:
    return round(in_points(metric, scores.get(metric, 0.0)), 2)


@dataclass(frozen=True, slots=True)
class Regret:
    """What a cell came to: points of `auto`, of the best method alone, of the one that the priors rank first, and of the one
    whose loss was the lowest after as long as a lap.
    """

    auto: float | None
    best: str
    best_score: float | None
    first: str
    first_score: float | None
    early: str
    early_score: float | None

    @property
    def points(self) -> float | None:
        """What the best method alone has more than `auto`."""
        return None if self.best_score is None or self.auto is None else self.best_score - self.auto

    @property
    def of_priors(self) -> float | None:
        """The same of the method that the priors rank first, had it been run."""
        return None if self.best_score is None or self.first_score is None else self.best_score - self.first_score

    @property
    def of_early_losses(self) -> float | None:
        """The same of the method that was ahead after a lap."""
        return None if self.best_score is None or self.early_score is None else self.best_score - self.early_score


def regret_of(runs: list[dict[str, Any]]) -> Regret:
    """The regret of a cell with these runs."""
    alone = {way: score for way in _ways(runs) if way != "auto" and (score := _median(runs, way)) is not None}
    hoped = {one["way"]: one["expected"] for one in runs if one["way"] in alone and "expected" in one}
    ahead = {one["way"]: -one["early_loss"] for one in runs if one["way"] in alone and _has_early_loss(one)}
    best, first, early = (max(found, key=found.__getitem__, default="") for found in (alone, hoped, ahead))
    return Regret(_median(runs, "auto"), best, alone.get(best), first, alone.get(first), early, alone.get(early))


def _has_early_loss(run: dict[str, Any]) -> bool:
    """Steps by neighbours see fewer rows at a time, so that their loss is another."""
    return run["method"] != "nno" and run.get("early_loss") is not None


def _record(found: list[dict[str, Any]], note: str) -> None:
    rows, regrets, shares = [], list[Regret](), []
    for name in dict.fromkeys(one["cell"] for one in found):
        runs = [one for one in found if one["cell"] == name]
        autos = [one for one in runs if one["way"] == "auto" and one["status"] == 0]
        regret = regret_of(runs)
        regrets.append(regret)
        shares += [share] if (share := _share(autos)) is not None else []
        others = [way for way in _ways(runs) if way not in ("auto", regret.best)]
        baselines = autos[0]["baselines"] if autos else {}
        rows.append([
            name, _words(regret.auto), ", ".join(sorted({one["method"] for one in autos})) or "refused",
            f"{regret.best} {_words(regret.best_score)}", ", ".join(f"{way} {_words(_median(runs, way))}" for way in others),
            _words(regret.points), f"{regret.first} {_words(regret.of_priors)}",
            f"{regret.early} {_words(regret.of_early_losses)}", "" if share is None else f"{100 * share:.0f} %",
            ", ".join(f"{one['seconds']:.0f}" for one in autos), ", ".join(f"{one['peak_bytes'] / 1e6:.0f}" for one in autos),
            ", ".join(f"{each} {_words(score)}" for each, score in baselines.items()), _measured_at(runs),
        ])  # fmt: skip
    body = "Points on test rows (accuracy, chrF or ROUGE-L); medians over seeds; a dash where a method is refused. "
    body += 'In the column "priors" is the method that the priors alone rank first, and its regret; in "early", the one whose '
    body += "loss of training rows was the lowest after as long as a lap of a race. The steps of a race from "
    body += f"which the winner goes on count as training. {note}".rstrip() + "\n\n" + table(_HEAD, rows)
    failed = [one for one in found if one["status"] != 0]
    if failed:
        body += "\n\nEnded without a model:\n\n" + "\n".join(
            f"- {one['cell']} {one['way']}: exit {one['status']}, {one['words']}" for one in failed
        )
    points = [regret.points for regret in regrets if regret.points is not None]
    headline = {
        "cells": len(rows), "within_1_point": sum(each <= 1 for each in points), "of": len(points),
        "worst_regret": round(max(points, default=0.0), 2),
        "worst_regret_of_priors": round(max((regret.of_priors or 0.0 for regret in regrets), default=0.0), 2),
        "worst_regret_of_early_losses": round(max((regret.of_early_losses or 0.0 for regret in regrets), default=0.0), 2),
        "training_shares": [round(share, 2) for share in shares],
    }  # fmt: skip
    write_record("race", "auto beside each method alone", body, headline)


_HEAD = [
    "cell", "auto", "chose", "best alone", "others alone", "regret", "priors", "early", "training", "seconds", "peak MB",
    "baselines", "measured",
]  # fmt: skip


def _ways(runs: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(one["way"] for one in runs))


def _share(autos: list[dict[str, Any]]) -> float | None:
    return statistics.median(one["training_share"] for one in autos) if autos else None


def _measured_at(runs: list[dict[str, Any]]) -> str:
    """When, at which commit and on what: a cell may be older than the record."""
    return "; ".join(
        dict.fromkeys(f"{one['date']}, {one['commit']}, {one['processor']}" for one in runs if "date" in one)
    )


def _median(runs: list[dict[str, Any]], way: str) -> float | None:
    scores = [one["test"] for one in runs if one["way"] == way and one["status"] == 0]
    return statistics.median(scores) if scores else None


def _words(score: float | None) -> str:
    return "–" if score is None else f"{score:.1f}"


if __name__ == "__main__":
    main()
