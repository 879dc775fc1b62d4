"""make bench-survival: who finishes inside a memory limit, and how good the model is then; ours beside what people use today.

Each cell is a process in a memory control group of the limit and 60 MB (needs root), with the same wall seconds for all, from
its start to a model on disk; then the model is scored on the test rows by plain transformers, outside the group. Peers are
in `peers.py`; those that look for a batch size first have the limit as RLIMIT_DATA too, so that what is refused reaches them as
an error. Where they die so, since it counts what is only reserved as well, they are run again without it, and that is told.
Pages of libraries that something outside the group has read already are not charged to it: that favours the peers, which do not
count them, over ours, which does. Ours survives a cell where it finishes and its own account is within the limit as well.

Cells are added to `--cells`, one JSON object a line, each with the commit it is of; those that are there are not run again, so
that a table can be made bit by bit, and `--tables` alone makes it of what there is.

    --pairs minilm-movies,smollm2-translations
    --ways proxtune,trainer,…
    --limits 600MB,1GB        all of the pair's when left out
    --seeds 0,1,2
    --litgpt FOLDER           of a virtual environment that has litgpt, for the way "litgpt"
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import lit
from harness import HERE, Group, Seen, commit, table, watched, write_record
from proxtune.config.budget import parse_bytes
from proxtune.models.source import find_model
from proxtune.samples import movies_path, translations_path
from survival_plot import draw

OURS = "proxtune"
PEERS = ("trainer", "trainer-lora", "trainer-lora-checkpointing", "accelerate", "litgpt")
_FINDERS = ("trainer", "trainer-lora", "trainer-lora-checkpointing", "accelerate")
_OUTER_BYTES = 60_000_000
_LATE = 1.5  # times the seconds: then a peer is stopped

Cell = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """A model and what it learns: the limits it is put under, and the seconds it has."""

    model: str
    task: str
    train: Path
    test: Path
    seconds: int
    limits: tuple[str, ...]


PAIRS = {
    "minilm-movies": Pair(
        "minilm", "classify", movies_path("train"), movies_path("test"), 120,
        ("420MB", "450MB", "500MB", "550MB", "600MB", "650MB", "700MB", "850MB", "1GB", "1.3GB", "1.7GB"),
    ),
    "smollm2-translations": Pair(
        "smollm2", "translate", translations_path("train"), translations_path("test"), 150,
        ("1GB", "1.1GB", "1.2GB", "1.4GB", "1.7GB", "2GB", "2.5GB", "3.5GB"),
    ),
}  # fmt: skip


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--pairs", default=",".join(PAIRS))
    words.add_argument("--ways", default=",".join((OURS, *PEERS)))
    words.add_argument("--limits", default="")
    words.add_argument("--seeds", default="0,1,2")
    words.add_argument("--litgpt", type=Path)
    words.add_argument("--cells", type=Path, default=HERE / f"survival-{date.today().isoformat()}.jsonl")
    words.add_argument("--tables", action="store_true")
    asked = words.parse_args()
    if not asked.tables:
        for name, way, limit, seed in _asked_cells(asked):
            cell = _ran(PAIRS[name], way, limit, seed, asked.litgpt)
            cell = {"pair": name, "way": way, "limit": limit, "seed": seed, "commit": commit(), **cell}
            sys.stderr.write(f"{cell}\n")
            with asked.cells.open("a", encoding="utf-8") as file:
                file.write(json.dumps(cell) + "\n")
    cells = _cells(asked.cells)
    body, headline = tables(cells)
    picture = draw(cells, OURS, _survived, {"minilm-movies": "accuracy", "smollm2-translations": "chrF"})
    commits = ", ".join(sorted({cell["commit"] for cell in cells}))
    body = f"Every run is a line of `{asked.cells.name}`; commit {commits}.\n\n![points by limit]({picture.name})\n\n{body}"
    write_record("survival", "Who finishes inside a memory limit, and with what", body, headline)


def _cells(path: Path) -> list[Cell]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _asked_cells(asked: Any) -> Iterable[tuple[str, str, str, int]]:
    there = {(cell["pair"], cell["way"], cell["limit"], cell["seed"]) for cell in _cells(asked.cells)}
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    for seed in seeds:
        for name in asked.pairs.split(","):
            for limit in asked.limits.split(",") if asked.limits else PAIRS[name].limits:
                for way in asked.ways.split(","):
                    can = way != "litgpt" or (asked.litgpt is not None and PAIRS[name].task == "translate")
                    if can and (name, way, limit, seed) not in there:
                        yield name, way, limit, seed


def _ran(pair: Pair, way: str, limit: str, seed: int, litgpt: Path | None) -> Cell:
    limit_bytes, model = parse_bytes(limit), find_model(pair.model).folder
    with tempfile.TemporaryDirectory() as folder:
        out = made = Path(folder) / "run"
        if way == OURS:
            command = [
                sys.executable, "-m", "proxtune", "train", str(pair.train), "--model", pair.model, "--task", pair.task,
                "--memory", limit, "--time", f"{pair.seconds}s", "--seed", str(seed), "--out", str(out), "--json",
            ]  # fmt: skip
            made = out / "model"
        elif way == "litgpt":
            assert litgpt is not None
            command = lit.command(litgpt, *lit.prepared(litgpt, model, pair.train, Path(folder)), out, seed)
            made = out / "made"
        else:
            command = [
                sys.executable, str(HERE / "peers.py"), way, str(model), pair.task, str(pair.train), str(out),
                "--seconds", str(pair.seconds), "--seed", str(seed),
            ]  # fmt: skip
        for data_limit_bytes in (limit_bytes, None) if way in _FINDERS else (None,):
            with Group(limit_bytes + _OUTER_BYTES) as group:
                seen = watched(command, group, data_limit_bytes, None if way == OURS else _LATE * pair.seconds)
            if seen.status == 0:
                break
        cell: Cell = {
            "fate": _fate(seen, pair.seconds),
            "peak_mb": round(seen.peak_bytes / 1e6),
            "group_peak_mb": round((seen.group_peak_bytes or 0) / 1e6),
            "seconds": round(seen.seconds, 1),
        }
        if way == OURS and seen.status == 0:
            measured, promised = seen.result["measured"]["memory_bytes"], seen.result["predicted"]["memory_bytes"]
            cell["plan"] = seen.result["plan"]["name"]
            cell["phases_mb"] = {
                phase: [round(promised[phase] / 1e6, 1), round(held / 1e6, 1)]
                for phase, held in measured.items()
                if phase in promised
            }
        if cell["fate"] == "finished":
            if litgpt is not None and way == "litgpt":
                lit.as_transformers(litgpt, out, model, made)
            score = [sys.executable, str(HERE / "score.py"), str(made), pair.task, str(pair.train), str(pair.test)]
            cell["points"] = watched(score).result.get("points")
    return cell


def _fate(seen: Seen, seconds: float) -> str:
    """How it ended: finished, refused beforehand, killed, died, or stopped long after its time."""
    if seen.status == 0:
        return "finished"
    if seen.seconds > _LATE * seconds:
        return "stopped: not over in time"
    message = str(seen.result.get("message", ""))
    if seen.status == 2 and message.startswith(("nothing fits", "no plan fits")):
        return f"refused: {message[:120]}"
    if seen.status < 0:
        return f"killed by signal {-seen.status}"
    lines = [line.strip() for line in seen.words.splitlines() if line.strip()]
    return "died: " + (lines[-1][:120] if lines else f"exit {seen.status}")


def tables(cells: list[Cell]) -> tuple[str, dict[str, Any]]:
    """Survival and quality of the cells there are."""
    body, headline = [], {}
    for name in PAIRS:
        own = [cell for cell in cells if cell["pair"] == name]
        if not own:
            continue
        limits = [limit for limit in PAIRS[name].limits if any(cell["limit"] == limit for cell in own)]
        ways = [way for way in (OURS, *PEERS) if any(cell["way"] == way for cell in own)]
        rows = [
            [limit, *(_words([c for c in own if (c["limit"], c["way"]) == (limit, way)]) for way in ways)]
            for limit in limits
        ]
        body.append(f"## {name}, {PAIRS[name].seconds} seconds\n\n" + table(["limit", *ways], rows))
        headline[name] = {way: _share([c for c in own if c["way"] == way]) for way in ways}
        quality = [line for limit in limits for line in _quality([c for c in own if c["limit"] == limit], limit)]
        if quality:
            heads = ["limit", "ours, median (least to most)", "best peer", "its points", "ours more"]
            body.append("### Points on test, ours against the best peer that survived\n\n" + table(heads, quality))
    phases = [held for cell in cells for held in cell.get("phases_mb", {}).values()]
    if phases:
        headline["prediction"] = prediction = _prediction(phases)
        body.append(
            f"## Promised against measured memory\n\nOver {prediction['phases']} phases of all cells of ours: median "
            f"{prediction['median']} %, 95th percentile {prediction['p95']} %, worst {prediction['worst']} %; "
            f"{prediction['under']} took more than promised."
        )
    return "\n\n".join(body), headline


def _prediction(phases: list[tuple[float, float]]) -> dict[str, float]:
    """Errors in percent of (promised, measured)."""
    errors = [100 * (promised - held) / held for promised, held in phases]
    sizes = sorted(map(abs, errors))
    return {
        "median": round(statistics.median(sizes), 1), "p95": round(sizes[int(0.95 * (len(sizes) - 1))], 1),
        "worst": round(sizes[-1], 1), "phases": len(sizes), "under": sum(error < 0 for error in errors),
    }  # fmt: skip


def _words(cells: list[Cell]) -> str:
    done = [cell for cell in cells if _survived(cell)]
    if not cells:
        return ""
    if not done:
        fate = cells[0]["fate"]
        return "finished over the limit" if fate == "finished" else fate[:60].replace("|", "/")
    peak, seconds = max(cell["peak_mb"] for cell in done), statistics.median(cell["seconds"] for cell in done)
    points = statistics.median(cell["points"] for cell in done if cell.get("points") is not None)
    share = "" if len(cells) == 1 else f"{len(done)}/{len(cells)}: "
    return f"{share}{points:.1f} points, {peak} MB, {seconds:.0f} s"


def _share(cells: list[Cell]) -> str:
    """Cells that survived, of those that were not refused beforehand."""
    tried = [cell for cell in cells if not cell["fate"].startswith("refused")]
    return f"{sum(_survived(cell) for cell in tried)}/{len(tried)}"


def _survived(cell: Cell) -> bool:
    held = max((held for _, held in cell.get("phases_mb", {}).values()), default=0)
    return bool(cell["fate"] == "finished") and held * 1e6 <= parse_bytes(cell["limit"])


def _quality(cells: list[Cell], limit: str) -> Iterable[list[str]]:
    """A line for a limit where ours survived: beside the peer whose median is best of those that survived at any seed."""
    points: dict[str, list[float]] = {}
    for cell in cells:
        if _survived(cell) and cell.get("points") is not None:
            points.setdefault(cell["way"], []).append(cell["points"])
    ours = points.pop(OURS, None)
    if ours is None:
        return
    if points:
        best = max(points, key=lambda way: statistics.median(points[way]))
        more = statistics.median(ours) - statistics.median(points[best])
        yield [limit, _spread(ours), best, _spread(points[best]), f"{more:+.1f}"]
    else:
        was_tried = any(cell["way"] != OURS for cell in cells)
        yield [limit, _spread(ours), "none survived" if was_tried else "none was run", "", ""]


def _spread(points: list[float]) -> str:
    middle = f"{statistics.median(points):.1f}"
    return middle if len(points) == 1 else f"{middle} ({min(points):.1f} to {max(points):.1f})"


if __name__ == "__main__":
    main()
