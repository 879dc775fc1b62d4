"""make bench-least: the least memory that each method is let run in, beside what it then holds; MiniLM, film reviews.

The least `--memory` for which `plan` finds a plan, dry run included, is found by bisection to 2 MB; then `train` runs in
it. What that run held is the least that could have been named: the margin is what the planner keeps for itself.

    --time 3min
    --methods probe,nno,lora,layers,full
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from harness import Seen, proxtune, table, write_record
from proxtune.samples import movies_path

_MEGABYTE, _STEP = 1_000_000, 2


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--time", default="3min")
    words.add_argument("--methods", default="probe,nno,lora,layers,full")
    asked = words.parse_args()
    rows, headline = [], {}
    for method in asked.methods.split(","):
        least, seen = _least(method, asked.time)
        held = max(seen.peak_bytes, *seen.result["measured"]["memory_bytes"].values()) / _MEGABYTE
        margin = least / held - 1
        rows.append([method, seen.result["plan"]["name"], str(least), f"{held:.0f}", f"{margin:+.1%}"])
        headline[method] = {"least_mb": least, "held_mb": round(held), "margin": round(margin, 3)}
        sys.stderr.write(f"{rows[-1]}\n")
    body = table(["method", "plan", "least budget MB", "held MB", "margin"], rows)
    write_record("least", "The least memory of each method", body, headline)


def _least(method: str, time: str) -> tuple[int, Seen]:
    """Megabytes, and the run within them."""
    refused, fits = 200, 1600
    assert _is_planned(method, time, fits)
    while fits - refused > _STEP:
        trial = (fits + refused) // 2
        if _is_planned(method, time, trial):
            fits = trial
        else:
            refused = trial
    while True:  # two dry runs of the same plan differ by a few megabytes
        seen = _run("train", method, time, fits)
        if seen.status == 0:
            return fits, seen
        fits += _STEP


def _is_planned(method: str, time: str, megabytes: int) -> bool:
    return _run("plan", method, time, megabytes).status == 0


def _run(command: str, method: str, time: str, megabytes: int) -> Seen:
    with tempfile.TemporaryDirectory() as folder:
        where = ["--out", str(Path(folder) / "run")] if command == "train" else []
        seen = proxtune(
            command, str(movies_path("train")), "--method", method, "--memory", f"{megabytes}MB", "--time", time, *where
        )
    sys.stderr.write(f"{command} {method} in {megabytes} MB: exit {seen.status}, {seen.seconds:.0f} s\n")
    assert seen.status in (0, 2), seen.words[-300:]
    return seen


if __name__ == "__main__":
    main()
