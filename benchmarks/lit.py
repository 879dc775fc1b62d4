"""LitGPT, the front-end, as one of the peers of `survival.py`: its command line, in a virtual environment of its own.

    python -m venv lit && lit/bin/pip install torch==2.13.0 litgpt requests

It has no limit of time, so it makes as many steps as fit into the seconds on a quiet core; its checkpoints are converted there
and back outside the memory limit.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from peers import INSTRUCTION, rows_of

_STEPS = 30


def prepared(litgpt: Path, model: Path, train: Path, folder: Path) -> tuple[Path, Path]:
    """A checkpoint and a file of rows in its own forms, made once in `folder`."""
    # It knows a model by the name of its folder.
    checkpoint, rows = folder / "SmolLM2-135M-Instruct", folder / "rows.json"
    if not rows.exists():
        shutil.copytree(model, checkpoint)
        _run(litgpt, "convert_to_litgpt", str(checkpoint))
        asked: list[dict[str, Any]] = [
            {"instruction": f"{INSTRUCTION}\n\n{row['source']}", "input": "", "output": row["target"]}
            for row in rows_of(train)
        ]
        rows.write_text(json.dumps(asked), encoding="utf-8")
    return checkpoint, rows


def command(litgpt: Path, checkpoint: Path, rows: Path, out: Path, seed: int) -> list[str]:
    """Adapters of rank 16 on every linear layer, bf16, eight rows at a time."""
    words = {
        "data": "JSON", "data.json_path": rows, "data.val_split_fraction": 0.05, "data.num_workers": 0,
        "precision": "bf16-true", "lora_r": 16, "lora_alpha": 32, "lora_projection": "true", "lora_mlp": "true",
        "lora_key": "true", "train.global_batch_size": 8, "train.micro_batch_size": 8, "train.max_seq_length": 512,
        "train.epochs": 10, "train.max_steps": _STEPS, "train.lr_warmup_steps": 5, "eval.interval": 1_000_000,
        "eval.initial_validation": "false", "eval.final_validation": "false", "seed": seed, "out_dir": out,
    }  # fmt: skip
    return [str(litgpt / "bin" / "litgpt"), "finetune_lora", str(checkpoint)] + [
        text for name, value in words.items() for text in (f"--{name}", str(value))
    ]


def as_transformers(litgpt: Path, out: Path, model: Path, made: Path) -> None:
    """The merged weights as a folder of transformers."""
    import torch
    import transformers

    converted = out / "converted"
    _run(litgpt, "convert_from_litgpt", str(out / "final"), str(converted))
    weights = torch.load(converted / "model.pth", weights_only=True, mmap=True)
    learned = transformers.AutoModelForCausalLM.from_pretrained(model)
    learned.load_state_dict(weights, strict=False)
    learned.save_pretrained(made)
    transformers.AutoTokenizer.from_pretrained(model).save_pretrained(made)


def _run(litgpt: Path, *words: str) -> None:
    subprocess.run([str(litgpt / "bin" / "litgpt"), *words], check=True, capture_output=True)
