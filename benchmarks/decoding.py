"""make bench-decoding: tokens answered a second and peak memory, ours beside `model.generate`, for the same rows, on one core.

SmolLM2-135M as it comes, held in bf16; `--rows` rows of the bundled translations, evenly spaced, asked as before training.
"ours" is what a run does in `--memory`, as many rows at a time as the plan of `--micro-batch` has room for; "before" is the same
with the model's own `generate` for one piece after another, as other models still answer; "generate" is `model.generate` of
plain transformers (its own attention) with all rows in one batch, without a limit. In each round the three follow one another,
each in a process of its own that answers a few tokens first. Seconds are those of the processor: other work on the machine
counts less. A token counts up to the one that ends its answer. The peak is the kernel's own count, from the loaded model on.

    --rows 64
    --memory 2GB
    --micro-batch 4
    --rounds 3
    --dtype bf16         of the weights
    --new-tokens 0       at most; 0: what the rows call for
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from harness import table, write_record
from proxtune.memory.allocator import set_allocator
from proxtune.memory.kernel_cache import SOME, limit_kernel_cache

WAYS = ("ours", "before", "generate")
_WARM_UP_ROWS, _WARM_UP_TOKENS = 4, 3


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--rows", type=int, default=64)
    words.add_argument("--memory", default="2GB")
    words.add_argument("--micro-batch", type=int, default=4)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--dtype", default="bf16")
    words.add_argument("--new-tokens", type=int, default=0)
    words.add_argument("--way", choices=WAYS)
    asked = words.parse_args()
    if asked.way:
        print(json.dumps(_measured(asked)))
        return
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for number in range(asked.rounds):
        for way in WAYS:
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
            found[way].append(json.loads(subprocess.check_output(command, text=True).splitlines()[-1]))
            shown = {key: value for key, value in found[way][-1].items() if key != "answers"}
            sys.stderr.write(f"round {number}, {way}: {shown}\n")
    rows, headline = [], {}
    for way in WAYS:
        rates = [one["tokens_per_second"] for one in found[way]]
        ratios = [ours["tokens_per_second"] / rate for ours, rate in zip(found["ours"], rates, strict=True)]
        peak = statistics.median(one["peak_bytes"] for one in found[way]) / 1e6
        pairs = zip(found["ours"][0]["answers"], found[way][0]["answers"], strict=True)
        same = sum(mine == its for mine, its in pairs)
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rate = f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"
        rows.append([way, rate, spread, f"{peak:.0f}", f"{same} of {len(found[way][0]['answers'])}"])
        headline[way] = {
            "tokens_per_second": round(statistics.median(rates), 1), "ours_over_it": round(statistics.median(ratios), 2),
            "peak_mb": round(peak), "same_answers": same,
        }  # fmt: skip
    said = found["ours"][0]
    body = f"{asked.rows} rows of django_en_fr, prompts of {said['prompts'][0]} to {said['prompts'][1]} tokens, {said['tokens']} "
    body += f"tokens answered, at most {said['new_tokens']} each; weights in {asked.dtype}; {said['micro_tokens']} tokens at a "
    body += f"time in {asked.memory}; one thread; medians of {asked.rounds} rounds.\n\n"
    body += table(["way", "tokens/s", "ours / it, paired", "peak MB", "answers as ours"], rows)
    write_record("decoding", "Tokens answered a second, beside model.generate", body, headline)


def _measured(asked: Any) -> dict[str, Any]:
    set_allocator("fast")
    limit_kernel_cache(SOME)
    import torch

    from proxtune.config.budget import parse_bytes
    from proxtune.data.dataset import select_rows
    from proxtune.memory.devices.cpu import ProcessMeter
    from proxtune.memory.governor import Governor
    from proxtune.tasks.generation.dataset import settings_of
    from proxtune.tasks.generation.decoding import prompt_lengths, tokens_at_a_time

    torch.set_num_threads(1)
    task, model, data = _loaded(asked)
    how = settings_of(task)
    if asked.new_tokens:
        how = replace(how, new_tokens=asked.new_tokens)
    tokens, meter = tokens_at_a_time(_plan(asked, task)), ProcessMeter()
    governor = Governor(parse_bytes(asked.memory) if asked.way != "generate" else None, meter)
    answer = _generated if asked.way == "generate" else _answered
    few = select_rows(data, np.arange(_WARM_UP_ROWS))
    with _by_generate(asked.way == "before"):
        answer(model, few, replace(how, new_tokens=_WARM_UP_TOKENS), tokens, governor)
        governor.hold()
        meter.reset()
        began = time.process_time()
        said = answer(model, data, how, tokens, governor)
        seconds = time.process_time() - began
    prompts = prompt_lengths(data)
    lengths = [min(how.new_tokens, len(how.tokenizer(text, add_special_tokens=False).input_ids) + 1) for text in said]
    return {
        "tokens_per_second": round(sum(lengths) / seconds, 2), "seconds": round(seconds, 1), "peak_bytes": meter.peak(),
        "tokens": sum(lengths), "prompts": [int(prompts.min()), int(prompts.max())], "new_tokens": how.new_tokens,
        "micro_tokens": tokens, "step_downs": len(governor.step_downs), "answers": said,
    }  # fmt: skip


def _loaded(asked: Any) -> tuple[Any, Any, Any]:
    """The task, the model as it is before training, and the rows."""
    from proxtune.config.recipe import Recipe
    from proxtune.data.dataset import evenly_spaced_rows, select_rows
    from proxtune.models.source import find_model
    from proxtune.samples import translations_path
    from proxtune.tasks.registry import find_task

    recipe = Recipe(data=str(translations_path("train")), out="", model="smollm2", task="translate")
    folder, kind = find_model(recipe.model).folder, find_task(recipe.task)
    task = kind.encode(recipe, kind.read(recipe), folder)
    model = kind.load_model(folder, task, 0, asked.dtype).eval().requires_grad_(False)
    return task, model, select_rows(task.train, evenly_spaced_rows(len(task.train), asked.rows))


def _plan(asked: Any, task: Any) -> Any:
    from proxtune.config.plan import Plan

    return Plan(
        "lora", "bf16", 16, asked.micro_batch, task.max_length, False, "adamw", 2e-4, 1.0, 0, 0, rank=16,
        base_dtype=asked.dtype,
    )  # fmt: skip


@contextmanager
def _by_generate(wanted: bool) -> Iterator[None]:
    """While this lasts every model answers by its own `generate`, if `wanted`."""
    from proxtune.tasks.generation import decoding

    own = decoding._takes_slots
    if wanted:
        decoding._takes_slots = lambda *_: False
    try:
        yield
    finally:
        decoding._takes_slots = own


def _answered(model: Any, data: Any, how: Any, tokens: int, governor: Any) -> list[str]:
    from proxtune.tasks.generation.decoding import generate_answers

    found = dict(generate_answers(model, data, how, "fp32", tokens, governor))
    return [found[row] for row in range(len(data))]


def _generated(model: Any, data: Any, how: Any, tokens: int, governor: Any) -> list[str]:
    """All rows in one batch, as plain transformers would: its fused attention, and no code of ours."""
    import torch

    from proxtune.tasks.generation.decoding import prompt_lengths

    prompts = prompt_lengths(data)
    ids = torch.full((len(data), int(prompts.max())), how.pad_id)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(prompts):
        ids[row, -length:] = torch.from_numpy(data.ids[data.starts[row] :][:length].astype(np.int64))
        mask[row, -length:] = 1
    model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=how.new_tokens, do_sample=False,
            pad_token_id=how.pad_id, eos_token_id=list(how.stop_ids),
        )  # fmt: skip
    said = how.tokenizer.batch_decode(made[:, ids.shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in said]


if __name__ == "__main__":
    main()
