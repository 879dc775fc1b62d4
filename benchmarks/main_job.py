"""make bench-main-job: the movie reviews under the budgets that the README names, each as a user types it.

With ARGS=--outer each run is also inside a memory control group of its budget and 60 MB (needs root).
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from harness import Group, Seen, proxtune, table, write_record
from proxtune.config.budget import parse_bytes
from proxtune.samples import movies_path

BUDGETS = [("520MB", "8min"), ("700MB", "8min"), ("1GB", "2min"), ("2GB", "15min")]
_OUTER_BYTES = 60_000_000
_HEAD = ["budget", "plan", "test accuracy", "TF-IDF", "peak MB, tree, from outside", "measured MB", "promised MB",
         "seconds", "step-downs", "outer group: peak MB, major faults"]  # fmt: skip


def main() -> None:
    outer = "--outer" in sys.argv
    rows, headline = [], {}
    for memory, time in BUDGETS:
        group = Group(parse_bytes(memory) + _OUTER_BYTES) if outer else nullcontext()
        with tempfile.TemporaryDirectory() as folder, group as limit:
            out = str(Path(folder) / "run")
            budget = ("--memory", memory, "--time", time)
            seen = proxtune("train", str(movies_path("train")), *budget, "--out", out, group=limit)
            test = proxtune("evaluate", out, str(movies_path("test"))) if seen.status == 0 else None
        rows.append(_row(memory, time, seen, test))
        headline[f"{memory}/{time}"] = {
            "exit": seen.status,
            "accuracy": test.result["metrics"]["accuracy"] if test else None,
            "peak_mb": round(seen.peak_bytes / 1e6),
            "seconds": round(seen.seconds, 1),
        }
        sys.stderr.write(f"{headline}\n")
    refused = proxtune("plan", str(movies_path("train")), "--memory", "200MB")
    headline["refusal"] = {"exit": refused.status, "seconds": round(refused.seconds, 1)}
    body = table(_HEAD, rows)
    body += f"\n\n200 MB: exit {refused.status} after {refused.seconds:.1f} s: {refused.result.get('message', '')}\n"
    if outer:
        body += (
            "\nEach run inside a memory control group of its budget and 60 MB; the group's peak includes page cache.\n"
        )
    name = "main-job-outer" if outer else "main-job"
    write_record(name, "The main job inside stated budgets", body, headline)


def _row(memory: str, time: str, seen: Seen, test: Seen | None) -> list[str]:
    if test is None:
        said = seen.result.get("message") or seen.words[-90:]
        return [f"{memory}, {time}", f"exit {seen.status}: {said[:90]}", *[""] * (len(_HEAD) - 2)]
    result = seen.result
    grouped = "" if seen.group_peak_bytes is None else f"{seen.group_peak_bytes / 1e6:.0f}, {seen.major_faults}"
    return [
        f"{memory}, {time}",
        f"{result['plan']['name']}, {result['steps']} steps",
        f"{test.result['metrics']['accuracy']:.3f}",
        f"{test.result['baselines']['tfidf']['accuracy']:.3f}",
        f"{seen.peak_bytes / 1e6:.0f}",
        f"{max(result['measured']['memory_bytes'].values()) / 1e6:.0f}",
        f"{max(result['predicted']['memory_bytes'].values()) / 1e6:.0f}",
        f"{seen.seconds:.0f}",
        str(len(result["step_downs"])),
        grouped,
    ]


if __name__ == "__main__":
    main()
