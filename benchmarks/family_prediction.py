"""make bench-family-prediction: predicted against measured peak, by phase, for one model of each family.

An encoder (MiniLM, 23 M) and a decoder (SmolLM2, 135 M) with their own weights; an encoder-decoder, a mixture of experts and a
state space model of the sizes that are published (T5-small, OLMoE at a small width, Mamba-130M), with random weights, since
memory does not depend on what a weight is. Each plan is a short run of the command line on the bundled samples; one in bf16 is
run in fp32 where the processor has no instructions for it. An error is (predicted − measured) / measured.

    --families encoder,decoder      only these
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import table, write_record
from prediction import Knobs, predicted_and_measured, runs_of
from proxtune.memory.devices.cpu import DEVICE
from proxtune.samples import movies_path, translations_path
from tiny_architectures import BEGIN, END, PAD, tokenizer_of

BUDGET_BYTES = 8_000_000_000
_SEED = 0
_VALIDATION_ROWS = 8  # where texts are generated: what is measured is bytes, and answers of a random model are long


@dataclass(frozen=True, kw_only=True)
class Family:
    """One model, and the plans that it is trained by."""

    model: str  # an alias, or a model type of transformers
    task: str
    plans: tuple[Knobs, ...]
    role: str = ""  # what its tokenizer begins and ends with; empty for an alias
    sizes: dict[str, Any] = field(default_factory=dict)


_CLASSIFY: tuple[Knobs, ...] = (
    ("lora", 8, "fp32", ()),
    ("layers", 8, "fp32", ("--last-layers", "2")),
    ("full", 8, "bf16", ()),
    ("probe", 16, "fp32", ()),
)
_GENERATE: tuple[Knobs, ...] = (
    ("lora", 4, "bf16", ()),
    ("lora", 2, "fp32", ("--checkpointing",)),
    ("layers", 2, "fp32", ("--last-layers", "2")),
    ("full", 2, "bf16", ()),
)
FAMILIES = {
    "encoder": Family(model="minilm", task="classify", plans=_CLASSIFY),
    "decoder": Family(model="smollm2", task="translate", plans=_GENERATE),
    "encoder-decoder": Family(
        model="t5", role="encoder-decoder", task="translate", plans=_GENERATE,
        sizes={"vocab_size": 32_128, "d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8,
            "decoder_start_token_id": PAD},
    ),
    "mixture of experts": Family(
        model="olmoe", role="decoder", task="translate", plans=_GENERATE,
        sizes={
            "vocab_size": 50_304, "hidden_size": 512, "intermediate_size": 256, "num_hidden_layers": 8,
            "num_attention_heads": 8, "num_key_value_heads": 8, "num_experts": 32, "num_experts_per_tok": 4,
        },
    ),
    "state space": Family(
        model="mamba", role="decoder", task="translate", plans=_GENERATE,
        sizes={"vocab_size": 50_280, "hidden_size": 768, "num_hidden_layers": 24, "state_size": 16},
    ),
}  # fmt: skip


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--families", default=",".join(FAMILIES))
    asked = words.parse_args()
    parts, rows, medians = [], [], {}
    for name in asked.families.split(","):
        family = FAMILIES[name]
        with tempfile.TemporaryDirectory() as folder:
            sample = movies_path if family.task == "classify" else translations_path
            data, validation = str(sample("train")), _few_rows(sample("test"), Path(folder))
            model, parameters = (family.model, None) if not family.role else _written(family, Path(folder) / "model")
            more = ["--model", model, "--task", family.task, "--epochs", "0.1", "--seed", str(_SEED)]
            more += [] if family.task == "classify" else ["--validation", validation]
            body, found = predicted_and_measured(
                runs_of(_computed(family.plans), data, BUDGET_BYTES, *more), BUDGET_BYTES
            )
        size = "its own weights" if parameters is None else f"{parameters / 1e6:.0f} M random parameters"
        parts.append(f"## {name.capitalize()}: {family.model}, {size}, {family.task}\n\n{body}")
        errors = [found[which] for which in ("median_peak_error", "median_error", "worst_error")]
        rows.append([name, family.model, str(found["plans"]), *(f"{error:.1%}" for error in errors)])
        medians[name] = found["median_peak_error"]
        sys.stderr.write(f"{body}\n{' | '.join(rows[-1])}\n")
    summary = table(["family", "model", "plans", "peak, median error", "a phase, median error", "worst"], rows)
    without_bf16 = "" if DEVICE.supports_bf16 else " This processor has no instructions for bf16: all in fp32."
    told = (
        f"Seed {_SEED}; a tenth of an epoch of the sample, so that the second batch has the longest row; {_VALIDATION_ROWS} rows "
        f"for validation where texts are generated. The peak is the largest phase.{without_bf16}"
    )
    body = "\n\n".join([told, summary, *parts])
    headline = {
        "families": len(medians),
        "worst_median_peak_error": max(medians.values()),
        "median_peak_errors": medians,
    }
    write_record("family-prediction", "Predicted against measured peak memory, by family", body, headline)


def _computed(plans: tuple[Knobs, ...]) -> list[Knobs]:
    """The plans in what this processor computes in."""
    return [(method, micro, dtype if DEVICE.supports_bf16 else "fp32", more) for method, micro, dtype, more in plans]


def _few_rows(sample: Path, folder: Path) -> str:
    """The first rows of a sample, as a file in the folder."""
    with sample.open("rb") as lines:
        few = b"".join(line for line, _ in zip(lines, range(_VALIDATION_ROWS), strict=False))
    (folder / sample.name).write_bytes(few)
    return str(folder / sample.name)


def _written(family: Family, folder: Path) -> tuple[str, int]:
    """The folder of a random model of the family's sizes with a tokenizer of its own, and how many parameters it has."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    torch.manual_seed(_SEED)
    config = CONFIG_MAPPING[family.model](pad_token_id=PAD, bos_token_id=BEGIN, eos_token_id=END, **family.sizes)
    model = (AutoModelForSeq2SeqLM if family.role == "encoder-decoder" else AutoModelForCausalLM).from_config(config)
    model.save_pretrained(folder)
    with movies_path("train").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row, _ in zip(csv.DictReader(file), range(1500), strict=False)]
    tokenizer_of("template", family.role, texts).save_pretrained(folder)
    return str(folder), sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    main()
