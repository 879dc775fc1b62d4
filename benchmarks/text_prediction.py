"""make bench-text-prediction: predicted against measured peak, by phase, over plans that generate text.

SmolLM2-135M on the bundled translations, or on other rows: each plan is a short run of the command line, answers before and after
it, and saving. An error is (predicted − measured) / measured.

    --data FILE          training rows (the bundled translations)
    --task translate     what they are
    --epochs 0.2
"""

from __future__ import annotations

import argparse

from harness import write_record
from prediction import Knobs, predicted_and_measured, runs_of
from proxtune.samples import translations_path

BUDGET_BYTES = 6_000_000_000
PLANS: list[Knobs] = [
    ("lora", 1, "bf16", ()),
    ("lora", 2, "bf16", ()),
    ("lora", 4, "bf16", ()),
    ("lora", 8, "bf16", ()),
    ("lora", 8, "bf16", ("--checkpointing",)),
    ("lora", 4, "bf16", ("--rank", "64")),
    ("lora", 4, "bf16", ("--max-length", "64")),
    ("lora", 2, "fp32", ()),
    ("lora", 4, "fp32", ("--checkpointing",)),
    ("lora", 2, "bf16", ("--base-dtype", "int8")),
    ("lora", 2, "bf16", ("--base-dtype", "int4", "--checkpointing")),
    ("layers", 4, "bf16", ("--last-layers", "6")),
    ("layers", 2, "fp32", ("--last-layers", "10")),
    ("full", 4, "bf16", ()),
    ("full", 2, "fp32", ("--optimizer", "adafactor")),
]


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--data", default=str(translations_path("train")))
    words.add_argument("--task", default="translate")
    words.add_argument("--epochs", default="0.2")
    asked = words.parse_args()
    more = ["--model", "smollm2", "--task", asked.task, "--epochs", asked.epochs]
    body, headline = predicted_and_measured(runs_of(PLANS, asked.data, BUDGET_BYTES, *more), BUDGET_BYTES)
    write_record("text-prediction", "Predicted against measured peak memory, generating text", body, headline)


if __name__ == "__main__":
    main()
