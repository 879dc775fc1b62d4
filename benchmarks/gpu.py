"""make bench-gpu ARGS=…: what runs promise, hold and reach within budgets of a GPU's memory.

Models: those named, as folders; and decoders of the sizes of `--sizes`, their weights drawn at random, with the tokenizer and the
templates of `--like`: what they learn means nothing, what they take is what such models take. A run is the command as a user
types it. What is held is seen from outside too, by the driver's own tool.

    --like FOLDER                 smollm2's, for the sizes
    --classifier FOLDER           of a model that tells the movies apart
    --sizes 135M,1.1B,6.7B
    --scratch FOLDER              where the models are put
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from harness import Seen, proxtune, table, write_record
from proxtune.samples import movies_path, translations_path

SIZES = {  # width, inner width, blocks, heads, heads of keys, budgets
    "135M": (576, 1536, 30, 9, 3, ("2GB",)),
    "1.1B": (2048, 5632, 22, 32, 4, ("2.5GB", "4GB")),
    "6.7B": (4096, 11008, 32, 32, 32, ("18GB",)),
}
CLASSIFIER_BUDGETS = ("1.2GB",)
SECONDS = {"135M": 60, "1.1B": 75, "6.7B": 150}
_HEAD = [
    "model, budget", "plan", "promised MB", "measured MB", "error", "seen from outside", "seconds", "step-downs", "score",
]  # fmt: skip


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--like", type=Path, required=True)
    words.add_argument("--classifier", type=Path)
    words.add_argument("--sizes", default=",".join(SIZES))
    words.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    asked = words.parse_args()
    rows: list[list[str]] = []
    for memory in CLASSIFIER_BUDGETS if asked.classifier else ():
        rows.append(_row("MiniLM", memory, movies_path("train"), asked.classifier, "45s"))
        _write(rows)
    for size in asked.sizes.split(","):
        folder = asked.scratch / f"random-{size}"
        if not folder.exists():
            _make(folder, asked.like, size)
        for memory in SIZES[size][-1]:
            rows.append(_row(size, memory, translations_path("train"), folder, f"{SECONDS[size]}s"))
            _write(rows)


def _write(rows: list[list[str]]) -> None:
    write_record("gpu", "Budgets of a GPU's memory", f"{_device()}\n\n{table(_HEAD, rows)}", {"rows": len(rows)})


def _row(name: str, memory: str, data: Path, model: Path, time: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder, Watch() as watch:
        out = str(Path(folder) / "run")
        seen = proxtune(
            "train",
            str(data),
            "--model",
            str(model),
            "--memory",
            memory,
            "--time",
            time,
            "--device",
            "cuda",
            "--out",
            out,
        )
    row = _told(f"{name}, {memory}, {time}", seen, watch.most_bytes)
    sys.stderr.write(f"{row}\n")
    return row


def _told(name: str, seen: Seen, outside_bytes: int) -> list[str]:
    if seen.status != 0:
        said = (seen.result.get("message") or seen.words).strip().splitlines()[-1][:200]
        return [name, f"exit {seen.status}: {said}", *[""] * 4, f"{seen.seconds:.0f}", "", ""]
    result = seen.result
    promised, measured = (max(result[key]["memory_bytes"].values()) / 1e6 for key in ("predicted", "measured"))
    metrics = result["metrics"]
    score = f"{metrics['accuracy']:.3f}" if "accuracy" in metrics else f"loss {metrics['loss']:.2f}"
    return [
        name, f"{result['plan']['name']}, {result['steps']} steps", f"{promised:.0f}", f"{measured:.0f}",
        f"{promised / measured - 1:+.1%}", f"{outside_bytes / 1e6:.0f}", f"{seen.seconds:.0f}", str(len(result["step_downs"])),
        score,
    ]  # fmt: skip


class Watch:
    """The most that the device held while it was watched, beyond what it held before. State: a thread that looks."""

    most_bytes = 0

    def __enter__(self) -> Watch:
        self._before, self._over = _used_bytes(), threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            self.most_bytes = max(self.most_bytes, _used_bytes() - self._before)


def _used_bytes() -> int:
    return int(_told_by_driver("memory.used")) << 20


def _device() -> str:
    return f"{_told_by_driver('name')}, driver {_told_by_driver('driver_version')}"


def _told_by_driver(what: str) -> str:
    asked = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits", "--id=0"]
    return subprocess.check_output(asked, text=True).strip()


def _make(folder: Path, like: Path, size: str) -> None:
    """A decoder of that size with weights drawn at random, in bf16."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shutil.copytree(like, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    width, inner, blocks, heads, key_heads, _ = SIZES[size]
    raw: dict[str, Any] = json.loads((folder / "config.json").read_text())
    raw |= {
        "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": blocks, "num_attention_heads": heads,
        "num_key_value_heads": key_heads, "head_dim": width // heads,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(raw))
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    del model
    torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
