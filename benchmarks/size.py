"""make bench-size: accuracy by the bytes of the saved weights, each run trained under its size.

The bundled film reviews, MiniLM, `--method full`; scored on `test.csv` by the saved folder, loaded again. The first run of each
seed has no size: it is what the others are held against. Beside each held run stands what the model scored on the validation
rows at its milestone, without the size and at the nearest model that fits before it learned there.

    --sizes 23MB 9MB 5MB
    --seeds 3
    --first-seed 0       with it a record continues where another ended
    --epochs 2
    --keep FOLDER        where the runs are; finished ones are not made again
    --peers              beside them what other libraries make of the run without a size, and our own allocation at its end
    --uniform 9MB        with --peers: sizes at which a run has the same bits for all weights, trained alike (a run for each seed)
    --blocks 3           with --peers: MiniLM with so many of its blocks, trained alike (a run for each seed)

Peers are not needed: one that is not installed has a row that says so (`pip install torchao onnxruntime onnx`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import proxtune, table, write_record
from proxtune.samples import movies_path
from size_begun import begin_uniform, with_blocks
from size_plot import Point, draw

NONE = "none"


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--sizes", nargs="*", default=["23MB", "9MB", "5MB"])
    words.add_argument("--seeds", type=int, default=3)
    words.add_argument("--first-seed", type=int, default=0)
    words.add_argument("--epochs", type=float, default=2.0)
    words.add_argument("--keep")
    words.add_argument("--peers", action="store_true")
    words.add_argument("--uniform", nargs="*", default=["9MB"])
    words.add_argument("--blocks", nargs="*", type=int, default=[3])
    asked = words.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(asked.keep or temporary)
        found = {
            size: [_run(folder, size, seed, asked.epochs) for seed in _seeds(asked)] for size in (NONE, *asked.sizes)
        }
        peers = _peers(folder, asked) if asked.peers else {}
    rows = [_row(size, runs, found[NONE]) for size, runs in found.items()]
    head = ["size", "runs", "weight files, bytes", "bits", "rows", "blocks", "validation", "free", "at the milestone", "test",
            "test, less than without"]  # fmt: skip
    body = f"{asked.epochs:g} epochs, seeds {', '.join(map(str, _seeds(asked)))}; median (least to most).\n\n" + table(
        head, rows
    )
    headline: dict[str, Any] = {size: _median(runs, _test) for size, runs in found.items()}
    if asked.peers:
        body += "\n\n" + _compared(found, peers)
        headline["peers"] = {
            name: [_median(runs, lambda run: run["bytes"]), _median(runs, lambda run: run["accuracy"])]
            for name, runs in peers.items()
            if "absent" not in runs[0]
        }
    write_record("size", "Accuracy by the bytes of the model", body, headline)


def _seeds(asked: argparse.Namespace) -> range:
    return range(asked.first_seed, asked.first_seed + asked.seeds)


def _run(folder: Path, size: str, seed: int, epochs: float) -> dict[str, Any]:
    """The result of one run, with its scores on the test file and the record of its milestone."""
    return _finished(folder / f"{size}-{seed}", seed, epochs, [] if size == NONE else ["--size", size])


def _finished(out: Path, seed: int, epochs: float, asked: list[str]) -> dict[str, Any]:
    """The same of the run in `out`: trained there, resumed where it was begun, or finished already."""
    if not (out / "result.json").is_file():
        _say(f"training {out.name}")
        train = (
            "train", str(movies_path("train")), "--method", "full", "--dtype", "bf16", "--epochs", str(epochs), "--seed",
            str(seed), *asked, "--out", str(out),
        )  # fmt: skip
        seen = proxtune(*(("resume", str(out)) if (out / "recipe.toml").is_file() else train))
        assert seen.status == 0, seen.words
    result = json.loads((out / "result.json").read_text())
    if "test.csv" not in result.get("evaluations", {}):
        proxtune("evaluate", str(out), str(movies_path("test")))
        result = json.loads((out / "result.json").read_text())
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    held = next((record for record in records if record["kind"] == "held"), None)
    result["free"] = held["free"]["accuracy"] if held else None
    result["milestone"] = next(
        (r["accuracy"] for r in records if held and r["kind"] == "validation" and r["step"] == held["step"]), None
    )
    result["on_disk"] = sum(path.stat().st_size for path in (out / "model").glob("*.safetensors"))
    return result


def _peers(folder: Path, asked: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Bytes and accuracy of each other way, one for each seed; `absent` says why there is none."""
    seeds = _seeds(asked)
    found: dict[str, list[dict[str, Any]]] = {}
    for way in ("torchao-int8", "torchao-int8-all", "torchao-int4", "torchao-int4-int8", "onnxruntime-int8"):
        found[way] = [_peer(folder, way, asked.sizes[0], seed) for seed in seeds]
    for size in asked.sizes:
        for way in ("at-the-end", "uniform-at-the-end"):
            found[f"{way} {size}"] = [_peer(folder, way, size, seed) for seed in seeds]
    for blocks in asked.blocks:
        model = with_blocks(folder / f"blocks-{blocks}", blocks)
        runs = [
            _finished(folder / f"blocks-{blocks}-{seed}", seed, asked.epochs, ["--model", str(model)]) for seed in seeds
        ]
        found[f"{blocks} blocks"] = [_as_peer(run) for run in runs]
    for size in asked.uniform:
        runs = []
        for seed in seeds:
            out = folder / f"uniform-{size}-{seed}"
            if not out.exists():
                begin_uniform(out, size, seed, asked.epochs)
            runs.append(_finished(out, seed, asked.epochs, []))
        found[f"uniform {size}"] = [_as_peer(run) for run in runs]
    return found


def _peer(folder: Path, way: str, size: str, seed: int) -> dict[str, Any]:
    """What `size_peers.py` found, in a process of its own; kept, so that it is done once."""
    kept = folder / f"peer-{way}-{size}-{seed}.json"
    if not kept.is_file():
        _say(f"{way} {size}, seed {seed}")
        command = [sys.executable, str(Path(__file__).parent / "size_peers.py"), way, str(folder / f"{NONE}-{seed}")]
        done = subprocess.run([*command, "--size", size], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        if "absent" in found:  # it may be installed for another time
            return found
        kept.write_text(json.dumps(found))
    read: dict[str, Any] = json.loads(kept.read_text())
    return read


def _as_peer(run: dict[str, Any]) -> dict[str, Any]:
    return {
        "bytes": run["on_disk"],
        "accuracy": _test(run),
        "with": "proxtune",
        "cost": (run["size"] or {}).get("cost"),
    }


def _compared(found: dict[str, list[dict[str, Any]]], peers: dict[str, list[dict[str, Any]]]) -> str:
    """The table of the other ways, and the plot of all of them."""
    rows = []
    for way, runs in peers.items():
        if "absent" in runs[0]:
            rows.append([way, "–", "–", runs[0]["absent"], "–"])
            continue
        costs = [run["cost"] for run in runs if run.get("cost") is not None]
        size_bytes, right = ([run[key] for run in runs] for key in ("bytes", "accuracy"))
        distance = _spread(costs, ".3g") if costs else "–"
        rows.append([way, _spread(size_bytes, ",.0f"), _spread(right), runs[0]["with"], distance])
    points = [Point(size, run["on_disk"], _test(run), True) for size, runs in found.items() for run in runs]
    points += [
        Point(way, run["bytes"], run["accuracy"], False)
        for way, runs in peers.items()
        for run in runs
        if "bytes" in run
    ]
    head = ["of the run without a size", "bytes", "test", "with", "weighted squared distance"]
    return f"{table(head, rows)}\n\n![accuracy by bytes]({draw(points).name})"


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


def _test(result: dict[str, Any]) -> float:
    return float(result["evaluations"]["test.csv"]["metrics"]["accuracy"])


def _median(runs: list[dict[str, Any]], value: Any) -> float:
    return round(statistics.median(value(run) for run in runs), 4)


def _spread(values: list[float], form: str = ".3f") -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _row(size: str, runs: list[dict[str, Any]], free: list[dict[str, Any]]) -> list[str]:
    structure = runs[0].get("size") or {}
    lost = [100 * (_test(whole) - _test(run)) for run, whole in zip(runs, free, strict=True)]
    held = [[run[key] for run in runs if run[key] is not None] for key in ("free", "milestone")]
    return [
        size, str(len(runs)), _spread([run["on_disk"] for run in runs], ",.0f"),
        *(str(structure.get(key, "–")) for key in ("bits", "vocabulary", "blocks")),
        _spread([run["metrics"]["accuracy"] for run in runs]),
        *(_spread(values) if values else "–" for values in held),
        _spread([_test(run) for run in runs]), _spread(lost, "+.1f") + " points",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
