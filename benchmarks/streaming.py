"""make bench-streaming: a random Llama of 1.07 billion parameters learns to translate, its weights held and streamed.

The same steps in two processes of their own, one after the other, `--rounds` times in turn: losses, tokens a second, and the
memory of the process as seen from outside, sampled 20 times a second. Then a whole run as a user types it, within `--memory`.

    --data FILE       pairs of texts; `../shared/data/en-fr/train.jsonl` or the like
    --model FOLDER    made there where it is not yet: 1.07 billion parameters in bf16, SmolLM2's tokenizer
    --rows 8 --length 128 --steps 4 --rounds 3
    --memory 900MB --time 25min
    --parts pair,run
    --core N          the core that all keep to
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import table, write_record
from proxtune.memory.process import tree_bytes

_SAMPLE_SECONDS = 0.05
_WAYS = ("held", "streamed")


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--data")
    words.add_argument("--model", default="runs/llama-1b")
    words.add_argument("--rows", type=int, default=8)
    words.add_argument("--length", type=int, default=128)
    words.add_argument("--steps", type=int, default=4)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--memory", default="900MB")
    words.add_argument("--time", default="25min")
    words.add_argument("--parts", default="pair,run")
    words.add_argument("--core", type=int)
    words.add_argument("--way", choices=_WAYS)
    asked = words.parse_args()
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    if asked.way:
        print(json.dumps(_steps(asked)))
        return
    if not (Path(asked.model) / "config.json").is_file():
        _make_model(Path(asked.model))
    body, headline = "", dict[str, Any]()
    if "pair" in asked.parts:
        paired = _paired(asked)
        body, headline = _pair_words(paired, asked), _pair_headline(paired)
    if "run" in asked.parts:
        told, figures = _run(asked)
        body, headline = body + told, headline | figures
    write_record("streaming", "A model larger than the memory", body, headline)


def _make_model(folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from proxtune.models.source import find_model

    tokenizer = AutoTokenizer.from_pretrained(str(find_model("smollm2").folder))
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
        num_key_value_heads=4, max_position_embeddings=2048, tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    LlamaForCausalLM(config).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)
    tokenizer.save_pretrained(folder)


def _steps(asked: Any) -> dict[str, Any]:
    """In a process of its own: the model with adapters, and the seconds and losses of some steps, the first left out."""
    from proxtune.memory.lean_imports import import_lean

    import_lean()
    import numpy as np
    import torch

    from proxtune.config.plan import Plan
    from proxtune.config.recipe import Knobs, Recipe
    from proxtune.memory.devices.registry import find_device
    from proxtune.methods.registry import find_method
    from proxtune.models.converted import weights_in
    from proxtune.runtime.streaming import stream_weights
    from proxtune.tasks.registry import find_task
    from proxtune.training.gradient_step import gradient_of
    from proxtune.training.optimizer import make_optimizer, update

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    dtype = "bf16" if find_device("cpu").supports_bf16 else "fp32"
    folder = weights_in(Path(asked.model), dtype)
    recipe = Recipe(data=asked.data, out="", task="translate", model=str(folder), knobs=Knobs(max_length=asked.length))
    task = find_task("translate")
    data = task.encode(recipe, task.read(recipe), folder)
    plan = Plan(
        method="lora", dtype=dtype, batch=asked.rows, micro_batch=asked.rows, max_length=data.max_length, checkpointing=False,
        optimizer="adamw", learning_rate=1e-3, epochs=1.0, steps=asked.steps, trainable=0, rank=16, base_dtype=dtype,
        streamed=asked.way == "streamed",
    )  # fmt: skip
    model = task.load_model(folder, data, 0, dtype).requires_grad_(False)
    if plan.streamed:
        assert stream_weights(model, folder) is not None, "its weights lie in a file"
    torch.manual_seed(0)
    model = find_method("lora").prepare(model, plan).train()
    optimizer = make_optimizer(model, plan)
    longest = np.argsort(-data.train.lengths, kind="stable")
    losses, seconds, tokens = [], [], []
    for step in range(asked.steps + 1):
        rows = longest[step * asked.rows :][: asked.rows]
        began = time.perf_counter()
        losses.append(gradient_of(model, data.train, rows, plan, data.pad_id))
        update(model, optimizer)
        seconds.append(time.perf_counter() - began)
        tokens.append(int(data.train.lengths[rows].sum()))
    return {"losses": losses, "tokens_per_second": sum(tokens[1:]) / sum(seconds[1:]), "dtype": dtype}


def _paired(asked: Any) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in _WAYS}
    for number in range(asked.rounds):
        for way in _WAYS if number % 2 == 0 else _WAYS[::-1]:
            command = [sys.executable, __file__, "--way", way, "--data", asked.data, "--model", asked.model]
            command += [
                f"--{name}={getattr(asked, name)}" for name in ("rows", "length", "steps") if getattr(asked, name)
            ]
            found[way].append(_watched(command))
            sys.stderr.write(f"{way}: {found[way][-1]}\n")
    return found


def _watched(command: list[str]) -> dict[str, Any]:
    """The child's JSON, and the most that it held as seen from outside."""
    with tempfile.TemporaryFile("w+") as out:
        process, peak = subprocess.Popen(command, stdout=out), 0
        while process.poll() is None:
            peak = max(peak, tree_bytes(process.pid))
            time.sleep(_SAMPLE_SECONDS)
        out.seek(0)
        said: dict[str, Any] = json.loads(out.read().splitlines()[-1])
    return said | {"peak_bytes": peak}


def _pair_words(paired: dict[str, list[dict[str, Any]]], asked: Any) -> str:
    rows = [
        [
            way, f"{_median(runs, 'tokens_per_second'):.1f}",
            ", ".join(f"{run['tokens_per_second']:.1f}" for run in runs), f"{_median(runs, 'peak_bytes') / 1e6:,.0f}",
            f"{runs[0]['losses'][-1]:.6f}",
        ]
        for way, runs in paired.items()
    ]  # fmt: skip
    equal = all(run["losses"] == paired["held"][0]["losses"] for runs in paired.values() for run in runs)
    dtype = paired["held"][0]["dtype"]
    told = f"{asked.steps} steps of {asked.rows} rows of at most {asked.length} tokens, adapters of rank 16, {dtype}, after "
    told += "one that warms up. "
    told += f"Losses of all steps are {'equal to the bit' if equal else '**not** equal'}.\n\n"
    return told + table(["weights", "tokens a second", "each", "peak MB (PSS)", "last loss"], rows) + "\n\n"


def _pair_headline(paired: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    ratios = [
        streamed["tokens_per_second"] / held["tokens_per_second"]
        for held, streamed in zip(paired["held"], paired["streamed"], strict=True)
    ]
    return {
        "speed_ratio": round(statistics.median(ratios), 3),
        "held_mb": round(_median(paired["held"], "peak_bytes") / 1e6),
        "streamed_mb": round(_median(paired["streamed"], "peak_bytes") / 1e6),
        "losses_equal": all(run["losses"] == paired["held"][0]["losses"] for runs in paired.values() for run in runs),
    }


def _run(asked: Any) -> tuple[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        words = ("train", asked.data, "--task", "translate", "--model", asked.model, "--memory", asked.memory)
        command = [sys.executable, "-m", "proxtune", *words, "--time", asked.time, "--out", f"{folder}/run", "--json"]
        seen = _watched(command)
    measured = seen["measured"]
    inside = max(measured["memory_bytes"].values())
    rows = [[
        seen["plan"]["name"], str(seen["steps"]), f"{measured['seconds']:.0f}", f"{seen['peak_bytes'] / 1e6:,.0f}",
        f"{inside / 1e6:,.0f}", f"{max(seen['predicted']['memory_bytes'].values()) / 1e6:,.0f}",
    ]]  # fmt: skip
    told = f"`proxtune train … --memory {asked.memory} --time {asked.time}`:\n\n"
    told += table(["plan", "steps", "seconds", "peak MB from outside (PSS)", "from inside", "promised"], rows) + "\n"
    return told, {"run_peak_mb": round(seen["peak_bytes"] / 1e6), "run_steps": seen["steps"]}


def _median(runs: list[dict[str, Any]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


if __name__ == "__main__":
    main()
