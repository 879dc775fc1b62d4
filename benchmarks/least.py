"""make bench-least: the least memory that each method is let run in, beside what it then holds; MiniLM, film reviews.

The least `--memory` that is not refused is found by bisection to 2 MB, each trial the whole command. What the run within it
held is the least that could have been named: the margin is what the planner keeps for itself.

    --time 60s
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
    words.add_argument("--time", default="60s")
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
    refused, runs = 200, 1600
    seen = _run(method, time, runs)
    assert seen.status == 0, seen.words[-300:]
    # What a roomy run promises for its smallest kind of plan is unknown: begin at what the table of a refusal says.
    named = proxtune("plan", str(movies_path("train")), "--method", method, "--memory", f"{refused}MB", "--time", time)
    needs = [
        max(row["plan"]["cost"]["memory_bytes"].values())
        for row in named.result["table"]
        if row["plan"]["method"] == method
    ]
    guess = round(min(needs) / _MEGABYTE)
    for trial in (guess - 40, guess, guess + 40):
        if refused < trial < runs:
            tried = _run(method, time, trial)
            if tried.status == 0:
                runs, seen = trial, tried
                break
            refused = trial
    while runs - refused > _STEP:
        trial = (runs + refused) // 2
        tried = _run(method, time, trial)
        if tried.status == 0:
            runs, seen = trial, tried
        else:
            refused = trial
    return runs, seen


def _run(method: str, time: str, megabytes: int) -> Seen:
    with tempfile.TemporaryDirectory() as folder:
        seen = proxtune(
            "train", str(movies_path("train")), "--method", method, "--memory", f"{megabytes}MB", "--time", time,
            "--out", str(Path(folder) / "run"),
        )  # fmt: skip
    sys.stderr.write(f"{method} in {megabytes} MB: exit {seen.status}, {seen.seconds:.0f} s\n")
    assert seen.status in (0, 2), seen.words[-300:]
    return seen


if __name__ == "__main__":
    main()
