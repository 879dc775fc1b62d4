"""make bench-prediction: predicted against measured peak, by phase, over plans of every method, micro-batch and dtype.

Each plan is a short run (a tenth of an epoch, whose second batch has the longest row) of the command line on the bundled
movie reviews. An error is (predicted − measured) / measured; a negative one is a promise that was too low.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from harness import proxtune, table, write_record
from proxtune.samples import movies_path

BUDGET_BYTES = 1_600_000_000
PLANS = [
    ("lora", 8, "fp32", ()),
    ("lora", 32, "fp32", ()),
    ("lora", 32, "bf16", ()),
    ("lora", 32, "fp32", ("--checkpointing",)),
    ("layers", 4, "fp32", ()),
    ("layers", 16, "fp32", ()),
    ("layers", 16, "bf16", ()),
    ("layers", 16, "fp32", ("--last-layers", "3", "--checkpointing")),
    ("full", 8, "fp32", ()),
    ("full", 32, "bf16", ()),
    ("full", 16, "fp32", ("--optimizer", "adafactor")),
    ("probe", 32, "fp32", ()),
    ("probe", 32, "bf16", ()),
]


def main() -> None:
    body, headline = predicted_and_measured(PLANS, str(movies_path("train")), BUDGET_BYTES, "--epochs", "0.1")
    write_record("prediction", "Predicted against measured peak memory", body, headline)


def predicted_and_measured(
    plans: list[tuple[str, int, str, tuple[str, ...]]], data: str, budget_bytes: int, *words: str
) -> tuple[str, dict[str, float]]:
    """A table and its headline: each of `plans` (method, micro-batch, dtype, more words) run as a command of its own."""
    rows, errors, over = [], [], 0
    for method, micro_batch, dtype, more in plans:
        with tempfile.TemporaryDirectory() as folder:
            seen = proxtune(
                "train", data, "--out", str(Path(folder) / "run"), "--memory", str(budget_bytes), "--method", method,
                "--micro-batch", str(micro_batch), "--dtype", dtype, *words, *more,
            )  # fmt: skip
        name = " ".join([method, dtype, str(micro_batch), *more])
        sys.stderr.write(f"{name}: exit {seen.status}, {seen.seconds:.0f} s\n")
        if seen.status != 0:
            rows.append([name, f"exit {seen.status}: {seen.result.get('message', '')[:80]}", "", "", ""])
            over += 1
            continue
        predicted, measured = seen.result["predicted"]["memory_bytes"], seen.result["measured"]["memory_bytes"]
        over += max(seen.peak_bytes, *measured.values()) > budget_bytes
        for phase, bytes_ in predicted.items():
            error = bytes_ / measured[phase] - 1
            errors.append(abs(error))
            rows.append([name, phase, f"{bytes_ / 1e6:.0f}", f"{measured[phase] / 1e6:.0f}", f"{error:+.1%}"])
            sys.stderr.write(f"{rows[-1]}\n")
    median, worst = statistics.median(errors), max(errors)
    body = table(["plan", "phase", "predicted MB", "measured MB", "error"], rows)
    body += f"\n\nMedian error {median:.1%}, worst {worst:.1%}, {len(plans)} plans, "
    body += f"{over} above the budget of {budget_bytes / 1e6:.0f} MB."
    return body, {
        "plans": len(plans), "median_error": round(median, 4), "worst_error": round(worst, 4), "over_budget": over,
    }  # fmt: skip


if __name__ == "__main__":
    main()
