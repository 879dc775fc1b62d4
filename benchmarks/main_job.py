"""make bench-main-job: the movie reviews under the budgets that the README names, each as a person types it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from harness import Seen, proxtune, table, write_record
from proxtune.samples import movies_path

BUDGETS = [("520MB", "8min"), ("700MB", "8min"), ("1GB", "2min"), ("2GB", "15min")]


def main() -> None:
    rows, headline = [], {}
    for memory, time in BUDGETS:
        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder) / "run")
            seen = proxtune("train", str(movies_path("train")), "--memory", memory, "--time", time, "--out", out)
            test = proxtune("evaluate", out, str(movies_path("test"))) if seen.status == 0 else None
        rows.append(_row(memory, time, seen, test))
        accuracy = test.result["metrics"]["accuracy"] if test else None
        headline[f"{memory}/{time}"] = {
            "accuracy": accuracy, "peak_mb": round(seen.peak_bytes / 1e6), "seconds": round(seen.seconds, 1),
        }  # fmt: skip
        sys.stderr.write(f"{headline}\n")
    refused = proxtune("plan", str(movies_path("train")), "--memory", "200MB")
    headline["refusal"] = {"exit": refused.status, "seconds": round(refused.seconds, 1)}
    head = [
        "budget",
        "plan",
        "test accuracy",
        "TF-IDF",
        "peak MB, whole tree, from outside",
        "promised MB",
        "seconds",
        "step-downs",
    ]
    body = (
        table(head, rows)
        + f"\n\n200 MB: exit {refused.status} after {refused.seconds:.1f} s: {refused.result.get('message', '')}\n"
    )
    write_record("main-job", "The main job inside stated budgets", body, headline)


def _row(memory: str, time: str, seen: Seen, test: Seen | None) -> list[str]:
    if test is None:
        return [
            f"{memory}, {time}",
            f"exit {seen.status}: {seen.result.get('message', '')[:90]}",
            "",
            "",
            "",
            "",
            "",
            "",
        ]
    result = seen.result
    return [
        f"{memory}, {time}",
        f"{result['plan']['name']}, {result['steps']} steps",
        f"{test.result['metrics']['accuracy']:.3f}",
        f"{test.result['baselines']['tfidf']['accuracy']:.3f}",
        f"{seen.peak_bytes / 1e6:.0f}",
        f"{max(result['predicted']['memory_bytes'].values()) / 1e6:.0f}",
        f"{seen.seconds:.0f}",
        str(len(result["step_downs"])),
    ]


if __name__ == "__main__":
    main()
