"""make bench-size: accuracy by the bytes of the saved weights, each run trained under its size.

The bundled film reviews, MiniLM, `--method full`; scored on `test.csv` by the saved folder, loaded again. The first run of each
seed has no size: it is what the others are held against. Beside each held run stands what the model scored on the validation
rows at its milestone, without the size and at the nearest model that fits before it learned there.

    --sizes 23MB 9MB 5MB
    --seeds 3
    --epochs 2
    --keep FOLDER        where the runs are; finished ones are not made again
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from harness import proxtune, table, write_record
from proxtune.samples import movies_path

NONE = "none"


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--sizes", nargs="*", default=["23MB", "9MB", "5MB"])
    words.add_argument("--seeds", type=int, default=3)
    words.add_argument("--epochs", type=float, default=2.0)
    words.add_argument("--keep")
    asked = words.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(asked.keep or temporary)
        found = {
            size: [_run(folder, size, seed, asked.epochs) for seed in range(asked.seeds)]
            for size in (NONE, *asked.sizes)
        }
    rows = [_row(size, runs, found[NONE]) for size, runs in found.items()]
    head = ["size", "runs", "weight files, bytes", "bits", "rows", "blocks", "validation", "free", "at the milestone", "test",
            "test, less than without"]  # fmt: skip
    body = f"{asked.epochs:g} epochs, {asked.seeds} seeds; median (least to most).\n\n" + table(head, rows)
    headline = {size: _median(runs, _test) for size, runs in found.items()}
    write_record("size", "Accuracy by the bytes of the model", body, headline)


def _run(folder: Path, size: str, seed: int, epochs: float) -> dict[str, Any]:
    """The result of one run, with its scores on the test file and the record of its milestone."""
    out = folder / f"{size}-{seed}"
    if not (out / "result.json").is_file():
        asked = [] if size == NONE else ["--size", size]
        seen = proxtune(
            "train", str(movies_path("train")), "--method", "full", "--dtype", "bf16", "--epochs", str(epochs), "--seed",
            str(seed), *asked, "--out", str(out),
        )  # fmt: skip
        assert seen.status == 0, seen.words
    result = json.loads((out / "result.json").read_text())
    if "test.csv" not in result["evaluations"]:
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
