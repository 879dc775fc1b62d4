"""make bench-overhead: what a run takes beside its training, phase by phase, on the bundled film reviews.

--memory 1GB
--time 2min
--rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from harness import proxtune, table, write_record
from proxtune.samples import movies_path

_LEARNING = "train"


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--memory", default="1GB")
    words.add_argument("--time", default="2min")
    words.add_argument("--rounds", type=int, default=3)
    asked = words.parse_args()
    rounds = [_seconds_by_phase(asked.memory, asked.time, seed) for seed in range(asked.rounds)]
    names = list(dict.fromkeys(name for phases in rounds for name in phases))
    taken = {name: [phases.get(name, 0.0) for phases in rounds] for name in names}
    taken["all but training"] = [sum(s for name, s in phases.items() if name != _LEARNING) for phases in rounds]
    rows = [
        [name, f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"]
        for name, seconds in taken.items()
    ]
    body = f"`--memory {asked.memory} --time {asked.time}`, medians of {asked.rounds} rounds (least to most). "
    body += "`start` is from the command to the first phase, `end` from the report to the command's end.\n\n"
    body += table(["phase", "seconds"], rows)
    headline = {name: round(statistics.median(seconds), 1) for name, seconds in taken.items()}
    write_record("overhead", "What a run takes beside its training", body, headline)


def _seconds_by_phase(memory: str, time: str, seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        seen = proxtune(
            "train",
            str(movies_path("train")),
            "--memory",
            memory,
            "--time",
            time,
            "--seed",
            str(seed),
            "--out",
            str(out),
        )
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    began = [(record["phase"], record["seconds"]) for record in records if record["kind"] == "phase"]
    ends = [seconds for _, seconds in began[1:]] + [seen.result["measured"]["seconds"]]
    found = {"start": began[0][1]}
    for (name, begin), end in zip(began, ends, strict=True):
        found[name] = found.get(name, 0.0) + end - begin
    found["end"] = seen.seconds - ends[-1]
    sys.stderr.write(f"{ {name: round(value, 1) for name, value in found.items()} }\n")
    return found


if __name__ == "__main__":
    main()
