"""make bench-text-speed: tokens trained a second and peak memory, ours beside the Trainer of Hugging Face, on the same rows.

SmolLM2-135M held in bf16 under LoRA's adapters of rank 16 on every linear layer, AdamW, batches of 16 rows in micro-batches of
`--micro-batch`, forward passes in bf16 autocast, the loss on the answers alone; the rows are encoded once, before the clock
starts. "trainer" is transformers' Trainer with peft as its documentation has it, "trainer, by length" the same with rows of like
length learned together, as ours are. In each round the three follow one another, each in a process of its own that warms up on
two batches first; a token counts where it is no padding. The peak is the kernel's own count, from a process with the model
loaded to the end.

On a GPU, where there is one, the peak is of the device's memory.

    --model smollm2
    --data FILE          training rows (the bundled translations)
    --task translate     what they are
    --rows 192           of them, one epoch
    --micro-batch 4      rows at a time (ours: as many tokens as so many of the longest rows have)
    --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import table, write_record
from proxtune.memory.allocator import set_allocator, trim
from proxtune.memory.kernel_cache import SOME, limit_kernel_cache

WAYS = ("proxtune", "trainer", "trainer, by length")
BATCH, RANK, RATE = 16, 16, 2e-4


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--model", default="smollm2")
    words.add_argument("--data", default="")
    words.add_argument("--task", default="translate")
    words.add_argument("--rows", type=int, default=192)
    words.add_argument("--micro-batch", type=int, default=4)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--way", choices=WAYS)
    asked = words.parse_args()
    if asked.way:
        print(json.dumps(_measured(asked)))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number in range(asked.rounds):
        for way in WAYS:
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
            found[way].append(json.loads(subprocess.check_output(command, text=True).splitlines()[-1]))
            sys.stderr.write(f"round {number}, {way}: {found[way][-1]}\n")
    rows, headline = [], {}
    for way in WAYS:
        rates = [one["tokens_per_second"] for one in found[way]]
        ratios = [ours["tokens_per_second"] / rate for ours, rate in zip(found["proxtune"], rates, strict=True)]
        peak = statistics.median(one["peak_bytes"] for one in found[way]) / 1e6
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append(
            [way, f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})", spread, f"{peak:.0f}"]
        )
        headline[way] = {"ours_over_it": round(statistics.median(ratios), 3), "peak_mb": round(peak)}
    said = found["proxtune"][0]
    source = Path(asked.data).parent.name or "django_en_fr"
    body = f"{asked.rows} rows of {source}, {said['tokens']:.0f} tokens, the longest {said['longest']:.0f}; "
    body += f"micro-batch {asked.micro_batch} of {BATCH}; {said['threads']:.0f} threads; medians of {asked.rounds} rounds.\n\n"
    body += table(["way", "tokens/s", "ours / it, paired", "peak MB"], rows)
    write_record("text-speed", "Tokens trained a second, beside the Trainer", body, headline)


def _measured(asked: Any) -> dict[str, float]:
    if asked.way == "proxtune":
        set_allocator("fast")
        limit_kernel_cache(SOME)
    import torch

    from proxtune.memory.devices.registry import find_device

    found = find_device("auto")
    device, meter = found.torch_device, found.meter()
    task, model = _loaded(asked)
    model.to(device)
    data = task.train
    learn = _ours if asked.way == "proxtune" else _trainers
    few = np.argsort(data.lengths)[-2 * BATCH :]
    learn(model, task, few, asked)
    _wait_for(device)
    began = time.perf_counter()
    loss = learn(model, task, np.arange(len(data)), asked)
    _wait_for(device)
    seconds = time.perf_counter() - began
    return {
        "tokens_per_second": round(data.lengths.sum() / seconds, 1), "seconds": round(seconds, 1), "loss": round(loss, 4),
        "peak_bytes": meter.peak(), "tokens": int(data.lengths.sum()), "longest": int(data.lengths.max()),
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def _wait_for(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


def _loaded(asked: Any) -> tuple[Any, Any]:
    """The task with its rows encoded, and the model under adapters."""
    from proxtune.config.recipe import Recipe
    from proxtune.data.dataset import select_rows
    from proxtune.memory.lean_imports import import_lean
    from proxtune.models.loading import load_generator
    from proxtune.models.source import find_model
    from proxtune.samples import translations_path
    from proxtune.tasks.registry import find_task

    if asked.way == "proxtune":
        import_lean()
    recipe = Recipe(data=asked.data or str(translations_path("train")), out="", model=asked.model, task=asked.task)
    folder = find_model(asked.model).folder
    kind = find_task(recipe.task)
    task = kind.encode(recipe, kind.read(recipe), folder)
    task = replace(task, train=select_rows(task.train, np.arange(min(asked.rows, len(task.train)))))
    return task, _adapted(load_generator(folder, task.config, "bf16"), asked, task)


def _plan(asked: Any, task: Any) -> Any:
    from proxtune.config.plan import Plan

    return Plan(
        "lora", "bf16", BATCH, asked.micro_batch, task.max_length, False, "adamw", RATE, 1.0, 0, 0, rank=RANK,
        base_dtype="bf16",
    )  # fmt: skip


def _adapted(model: Any, asked: Any, task: Any) -> Any:
    if asked.way == "proxtune":
        from proxtune.methods.registry import find_method

        return find_method("lora").prepare(model, _plan(asked, task))
    import peft

    adapters = peft.LoraConfig(
        task_type="CAUSAL_LM", r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules="all-linear"
    )
    return peft.get_peft_model(model, adapters)


def _ours(model: Any, task: Any, rows: np.ndarray, asked: Any) -> float:
    from proxtune.data.batching import epoch_batches
    from proxtune.data.dataset import select_rows
    from proxtune.training.gradient_step import gradient_of
    from proxtune.training.optimizer import make_optimizer, update

    data, plan, losses = select_rows(task.train, rows), _plan(asked, task), []
    optimizer = make_optimizer(model.train(), plan)
    for batch in epoch_batches(data.lengths, BATCH, 0, 0):
        trim()  # as each step of a run does
        losses.append(gradient_of(model, data, batch, plan, task.pad_id))
        update(model, optimizer)
    return float(np.mean(losses))


def _trainers(model: Any, task: Any, rows: np.ndarray, asked: Any) -> float:
    import torch
    import transformers

    data = list(_examples(task.train, rows))
    with tempfile.TemporaryDirectory() as folder:
        words = transformers.TrainingArguments(
            output_dir=folder, per_device_train_batch_size=asked.micro_batch, bf16=True, num_train_epochs=1,
            use_cpu=not torch.cuda.is_available(),
            gradient_accumulation_steps=max(1, BATCH // asked.micro_batch), learning_rate=RATE, save_strategy="no",
            logging_strategy="no", report_to="none", disable_tqdm=True, dataloader_pin_memory=False,
            train_sampling_strategy="group_by_length" if asked.way.endswith("length") else "random",
        )  # fmt: skip
        collator = transformers.DataCollatorForSeq2Seq(task.tokenizer, pad_to_multiple_of=8)
        trainer = transformers.Trainer(model=model, args=words, train_dataset=data, data_collator=collator)
        return float(trainer.train().training_loss)


def _examples(data: Any, rows: np.ndarray) -> Iterator[dict[str, list[int]]]:
    """The same ids, the question masked."""
    for row in rows:
        ids = data.ids[data.starts[row] : data.starts[row + 1]].tolist()
        begin = int(data.begins[row])
        yield {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [-100] * begin + ids[begin:]}


if __name__ == "__main__":
    main()
