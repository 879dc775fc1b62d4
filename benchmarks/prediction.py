"""make bench-prediction: predicted against measured peak, by phase, over plans of every method, micro-batch and dtype.

Beside them what `accelerate estimate-memory` and torch's MemTracker say of the training (`prediction_peers.py`). Each plan is
a short run (a tenth of an epoch, whose second batch has the longest row) of the command line on the bundled movie reviews.
An error is (predicted − measured) / measured; a negative one is a promise that was too low.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import HERE, Seen, proxtune, table, watched, write_record
from proxtune.models.source import find_model
from proxtune.samples import movies_path

BUDGET_BYTES = 1_600_000_000
Knobs = tuple[str, int, str, tuple[str, ...]]  # method, micro-batch, dtype, more words
PLANS: list[Knobs] = [
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

_OTHERS = ("ours", "estimate", "tracker", "tracker + process")


def main() -> None:
    seen = runs_of(PLANS, str(movies_path("train")), BUDGET_BYTES, "--epochs", "0.1")
    body, headline = predicted_and_measured(seen, BUDGET_BYTES)
    beside, others = _beside_others({name: run.result for name, run in seen.items() if run.status == 0})
    write_record("prediction", "Predicted against measured peak memory", f"{body}\n\n{beside}", headline | others)


def runs_of(plans: list[Knobs], data: str, budget_bytes: int, *words: str) -> dict[str, Seen]:
    """Each of `plans` (method, micro-batch, dtype, more words), run as a command of its own, by its name."""
    seen = {}
    for method, micro_batch, dtype, more in plans:
        name = " ".join([method, dtype, str(micro_batch), *more])
        with tempfile.TemporaryDirectory() as folder:
            seen[name] = proxtune(
                "train", data, "--out", str(Path(folder) / "run"), "--memory", str(budget_bytes), "--method", method,
                "--micro-batch", str(micro_batch), "--dtype", dtype, *words, *more,
            )  # fmt: skip
        sys.stderr.write(f"{name}: exit {seen[name].status}, {seen[name].seconds:.0f} s\n")
    return seen


def predicted_and_measured(seen: dict[str, Seen], budget_bytes: int) -> tuple[str, dict[str, float]]:
    """A table of the phases of each run, and its headline."""
    rows, errors, peaks, over = [], [], [], 0
    for name, run in seen.items():
        if run.status != 0:
            rows.append([name, f"exit {run.status}: {run.result.get('message', '')[:80]}", "", "", ""])
            over += 1
            continue
        predicted, measured = run.result["predicted"]["memory_bytes"], run.result["measured"]["memory_bytes"]
        over += max(run.peak_bytes, *measured.values()) > budget_bytes
        peaks.append(abs(max(predicted.values()) / max(measured.values()) - 1))
        for phase, bytes_ in predicted.items():
            error = bytes_ / measured[phase] - 1
            errors.append(abs(error))
            rows.append([name, phase, f"{bytes_ / 1e6:.0f}", f"{measured[phase] / 1e6:.0f}", f"{error:+.1%}"])
    median, worst = statistics.median(errors), max(errors)
    body = table(["plan", "phase", "predicted MB", "measured MB", "error"], rows)
    peak = statistics.median(peaks)
    body += f"\n\nMedian error {median:.1%} of a phase, {peak:.1%} of the peak; worst {worst:.1%}, {len(seen)} plans, "
    body += f"{over} above the budget of {budget_bytes / 1e6:.0f} MB."
    return body, {
        "plans": len(seen), "median_error": round(median, 4), "worst_error": round(worst, 4), "over_budget": over,
        "median_peak_error": round(peak, 4),
    }  # fmt: skip


def _beside_others(results: dict[str, dict[str, Any]]) -> tuple[str, dict[str, float]]:
    """A table of the training alone: ours, and what others would have said, without and with what a process holds before it.

    Its headline is the median size of the errors of each.
    """
    rows: list[list[str]] = []
    sizes: dict[str, list[float]] = {way: [] for way in _OTHERS}
    for name, result in results.items():
        held, terms = result["measured"]["memory_bytes"]["train"], result["plan"]["cost"]["terms"]
        process, said = terms["libraries"] + terms["supervisor"], _said_by_others(result["plan"])
        promises = {
            "ours": result["predicted"]["memory_bytes"]["train"],
            "estimate": said["estimate"],
            "tracker": said["tracker"],
            "tracker + process": None if said["tracker"] is None else said["tracker"] + process,
        }
        cells = []
        for way, promise in promises.items():
            cells.append("fails" if promise is None else f"{promise / 1e6:.0f} ({promise / held - 1:+.0%})")
            sizes[way] += [] if promise is None else [abs(promise / held - 1)]
        rows.append([name, f"{held / 1e6:.0f}", *cells])
    medians = {way: statistics.median(errors) for way, errors in sizes.items() if errors}
    rows.append(["median size of the error", "", *(f"{medians[way]:.1%}" for way in medians)])
    words = (
        "The training alone, MB. `estimate` is `accelerate estimate-memory`, `tracker` torch's MemTracker, which fails where a "
        "weight is frozen and with Adafactor; `process` is what the process and its supervisor hold without a model, as we "
        "measured it."
    )
    body = f"## Beside others\n\n{words}\n\n{table(['plan', 'measured', *_OTHERS], rows)}"
    return body, {f"median_{way}": round(size, 3) for way, size in medians.items()}


def _said_by_others(plan: dict[str, Any]) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(plan, file)
        file.flush()
        seen = watched([sys.executable, str(HERE / "prediction_peers.py"), str(find_model("minilm").folder), file.name])
    assert seen.status == 0, seen.words[-300:]
    return seen.result


if __name__ == "__main__":
    main()
